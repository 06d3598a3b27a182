//! What is generated from the command line's own help.

use std::process::Command;

fn otaria(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_otaria"));
    command.args(arguments);
    command
}

fn printed(mut command: Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn each_shell_gets_a_script_that_knows_commands_and_options() {
    for shell in ["bash", "zsh", "fish", "powershell"] {
        let script = printed(otaria(&["completions", shell]));
        for word in ["publish", "rollout", "json"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
    let unknown = otaria(&["completions", "cmd"]).output().unwrap();
    assert_eq!(unknown.status.code(), Some(2), "{unknown:?}");
}

/// As bash is asked by whoever presses the tabulator key.
#[cfg(unix)]
#[test]
fn bash_takes_the_script_and_completes_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let script = dir.path().join("otaria.bash");
    std::fs::write(&script, printed(otaria(&["completions", "bash"]))).unwrap();
    let asked = "source \"$0\"; COMP_WORDS=(otaria audit ver); COMP_CWORD=2; _otaria otaria ver audit; \
                 echo \"${COMPREPLY[@]}\"";
    let mut bash = Command::new("bash");
    bash.args(["--norc", "-c", asked]).arg(&script);
    assert_eq!(printed(bash).trim(), "verify");
}

#[test]
fn no_page_shows_what_a_variable_holds() {
    let secret = "otaria_secret_of_this_test";
    let dir = tempfile::tempdir().unwrap();
    let dir_name = dir.path().to_str().unwrap();
    let mut markdown = otaria(&["man", "--markdown"]);
    markdown.env("OTARIA_TOKEN", secret);
    markdown.env("OTARIA_SERVER", secret);
    assert!(!printed(markdown).contains(secret));
    let mut pages = otaria(&["man", dir_name]);
    pages
        .env("OTARIA_TOKEN", secret)
        .env("OTARIA_SERVER", secret);
    printed(pages);
    assert!(dir.path().join("otaria-token-create.1").exists());
    for page in std::fs::read_dir(dir.path()).unwrap() {
        let text = std::fs::read_to_string(page.unwrap().path()).unwrap();
        assert!(text.starts_with(".ie") && !text.contains(secret));
    }
}
