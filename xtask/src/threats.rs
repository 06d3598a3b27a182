//! The tests that `docs/SECURITY.md` names in its tables of threats must be there: a table that names a test which was renamed or
//! removed says that something is defended, and nothing holds it to that.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

const PAGE: &str = "docs/SECURITY.md";
/// The last column of a table of threats.
const COLUMN: &str = "test";
/// How a row says that it has no test; else it has to name one.
const WITHOUT: &[&str] = &["see below", "no test yet"];
/// Where sources of the project's own are.
const SOURCES: &[&str] = &["crates", "firmware/app", "firmware/board", "xtask"];

/// Where the tests of each name are.
type Tests = BTreeMap<String, Vec<PathBuf>>;

/// Fails with every row that names a test or a file that is not there.
pub(crate) fn check() -> Result<()> {
    let page = fs::read_to_string(PAGE).with_context(|| format!("cannot read {PAGE}"))?;
    let mut tests = Tests::new();
    for folder in SOURCES {
        collect(Path::new(folder), &mut tests)?;
    }
    let rows = rows(&page);
    ensure!(!rows.is_empty(), "{PAGE} has no table of threats");
    let wrong: Vec<String> = rows
        .iter()
        .flat_map(|row| {
            let found = wrong(row, &tests, |path| Path::new(path).exists());
            found
                .into_iter()
                .map(|why| format!("{}: {why}", row.threat))
        })
        .collect();
    if !wrong.is_empty() {
        bail!(
            "{PAGE} names what is not there; put the row right, or the test back:\n  {}",
            wrong.join("\n  ")
        );
    }
    println!("{} threats, each with the tests that it names", rows.len());
    Ok(())
}

/// A row of a table of threats.
struct Row<'p> {
    threat: &'p str,
    tests: &'p str,
}

/// The rows of all tables whose last column is that of tests.
fn rows(page: &str) -> Vec<Row<'_>> {
    let mut rows = Vec::new();
    let mut column = None;
    for line in page.lines() {
        let cells: Vec<&str> = match line
            .strip_prefix('|')
            .and_then(|line| line.strip_suffix('|'))
        {
            Some(line) => line.split('|').map(str::trim).collect(),
            None => Vec::new(),
        };
        match (&cells[..], column) {
            ([], _) => column = None,
            ([head @ .., last], None) if *last == COLUMN => {
                column = head.iter().position(|name| *name == "threat");
            }
            ([first, ..], _) if first.starts_with("--") => {}
            ([.., tests], Some(threat)) => rows.push(Row {
                threat: cells.get(threat).copied().unwrap_or_default(),
                tests,
            }),
            _ => {}
        }
    }
    rows
}

/// What a row names that is not there.
fn wrong(row: &Row<'_>, tests: &Tests, is_file: impl Fn(&str) -> bool) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut places: Option<(&str, &[PathBuf])> = None;
    let mut names = 0;
    // Every second piece is in backticks.
    for code in row.tests.split('`').skip(1).step_by(2) {
        if !code.contains('/') {
            names += 1;
            places = tests.get(code).map(|places| (code, &places[..]));
            if places.is_none() {
                wrong.push(format!("there is no test `{code}`"));
            }
        } else if code.starts_with("fuzz/") {
            names += 1;
            if !is_file(code) {
                wrong.push(format!("there is no file {code}"));
            }
        } else if let Some((name, places)) = places {
            // Where the test before it is.
            let folder = Path::new("crates").join(code);
            if !places.iter().any(|place| place.starts_with(&folder)) {
                wrong.push(format!("`{name}` is not in {code}"));
            }
        }
    }
    if names == 0 && !WITHOUT.iter().any(|words| row.tests.contains(words)) {
        wrong.push(format!(
            "it names no test, and says neither \"{}\"",
            WITHOUT.join("\" nor \"")
        ));
    }
    wrong
}

/// Finds the tests in all Rust files below `folder`.
fn collect(folder: &Path, tests: &mut Tests) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            if !path.ends_with("target") {
                collect(&path, tests)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            for name in tests_in(&text) {
                tests.entry(name.to_owned()).or_default().push(path.clone());
            }
        }
    }
    Ok(())
}

/// The names of functions with the attribute `#[test]`, or one such as `#[tokio::test]`.
fn tests_in(text: &str) -> impl Iterator<Item = &str> {
    let mut is_test = false;
    text.lines().filter_map(move |line| {
        let line = line.trim_start();
        let attribute = line.strip_prefix("#[").map(|rest| {
            let end = rest.find([']', '(']).unwrap_or(rest.len());
            &rest[..end]
        });
        if attribute.is_some_and(|name| name == "test" || name.ends_with("::test")) {
            is_test = true;
        }
        let line = line.strip_prefix("async ").unwrap_or(line);
        let name = line.strip_prefix("fn ")?.split(['(', '<']).next()?;
        std::mem::take(&mut is_test).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::{Row, Tests, rows, tests_in, wrong};

    fn known() -> Tests {
        let text = "fn helper() {}\n#[test]\n#[ignore = \"slow\"]\nfn first_is_held() {}\n    #[tokio::test(start_paused = true)]\n    async fn second_is_held() {}\n";
        tests_in(text)
            .map(|name| (name.to_owned(), vec!["crates/a/tests/b.rs".into()]))
            .collect()
    }

    fn found(tests: &str) -> Vec<String> {
        let threat = "a flood";
        wrong(&Row { threat, tests }, &known(), |path| {
            path == "fuzz/targets/a.rs"
        })
    }

    #[test]
    fn tests_and_fuzz_targets_that_are_there_are_no_fault() {
        for good in [
            "`first_is_held`, `second_is_held` (`a/tests`)",
            "`first_is_held` (`a/tests/b.rs`); fuzz target `fuzz/targets/a.rs`",
            "fuzz targets; `second_is_held`",
            "see below",
            "of the ports: no test yet",
        ] {
            assert_eq!(found(good), [""; 0], "{good}");
        }
    }

    #[test]
    fn a_test_that_was_renamed_moved_or_never_written_is_named() {
        for (bad, why) in [
            ("`helper`", "no test `helper`"),
            (
                "`first_is_held`, `first_was_held`",
                "no test `first_was_held`",
            ),
            (
                "`first_is_held` (`c/tests`)",
                "`first_is_held` is not in c/tests",
            ),
            (
                "fuzz target `fuzz/targets/b.rs`",
                "no file fuzz/targets/b.rs",
            ),
            ("", "it names no test"),
        ] {
            let found = found(bad);
            assert!(
                found.len() == 1 && found[0].contains(why),
                "{bad}: {found:?}"
            );
        }
    }

    #[test]
    fn only_tables_with_a_column_of_tests_are_looked_at() {
        let page = "| what | test |\n|---|---|\n\n| row | threat | defence | test |\n|---|---|---|---|\n| 1 | a | b | `c` |\n| 2 | d | e | |\n\
                    no row\n| a | b |\n|---|---|\n| f | `g` |\n";
        let found: Vec<_> = rows(page)
            .iter()
            .map(|row| (row.threat, row.tests))
            .collect();
        assert_eq!(found, [("a", "`c`"), ("d", "")]);
    }
}
