//! What a command has printed, and its exit code, compared with a file under `tests/snapshots/`.

use std::path::Path;

use snapbox::cmd::OutputAssert;

/// All that a command has shown.
pub(crate) fn shown(assert: &OutputAssert) -> String {
    let output = assert.get_output();
    format!(
        "{}---- standard error\n{}---- exit code {}\n",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
        output.status.code().unwrap_or(-1),
    )
}

/// Compares it with the file of that name.
pub(crate) fn assert_snapshot(assert: &OutputAssert, name: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/snapshots/{name}.txt"));
    snapbox::Assert::new()
        .action_env(snapbox::assert::DEFAULT_ACTION_ENV)
        .eq(shown(assert), snapbox::Data::read_from(&file, None).raw());
}
