//! Logging in and being refused, with the program as people and scripts run it.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

const PASSWORD: &str = "four unrelated words here";

/// `otaria serve` with log-in, and the log-ins of whoever uses it.
struct Server {
    process: Child,
    page: String,
    dir: TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[derive(Debug)]
struct Ran {
    code: i32,
    out: String,
    err: String,
}

fn otaria(config: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_otaria"));
    for name in ["SERVER", "MQTT", "TOKEN", "CA", "PASSWORD", "NEW_PASSWORD"] {
        command.env_remove(format!("OTARIA_{name}"));
    }
    command.env("OTARIA_CONFIG", config);
    command
}

impl Server {
    fn start(arguments: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut process = otaria(&dir.path().join("admin.toml"))
            .args(["serve", "--json", "--http", "127.0.0.1:0"])
            .args(["--mqtt-listen", "127.0.0.1:0", "--data"])
            .arg(dir.path().join("data"))
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut out = BufReader::new(process.stdout.take().unwrap());
        out.read_line(&mut line).unwrap();
        let started: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("'{line}'"));
        let page = started["page"].as_str().unwrap().to_owned();
        let server = Self { process, page, dir };
        // Said before the secrets are handed over; whoever has the password file has the log-in too.
        while !server.config("admin").exists() {
            std::thread::yield_now();
        }
        server
    }

    fn config(&self, user: &str) -> PathBuf {
        self.dir.path().join(format!("{user}.toml"))
    }

    fn run(&self, user: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Ran {
        let mut command = otaria(&self.config(user));
        command.args(arguments).envs(variables.iter().copied());
        let output = command.stdin(Stdio::null()).output().unwrap();
        Ran {
            code: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    fn ok(&self, user: &str, arguments: &[&str], variables: &[(&str, &str)]) -> String {
        let ran = self.run(user, arguments, variables);
        assert_eq!(ran.code, 0, "{arguments:?} {ran:?}");
        ran.out
    }
}

fn package() -> String {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../otaria-package/tests/golden/demo-1.1.0-deflate.otaria");
    package.to_str().unwrap().to_owned()
}

#[test]
fn whoever_starts_the_server_is_logged_in_and_nobody_else_is() {
    let server = Server::start(&[]);
    server.ok("admin", &["devices"], &[]);
    let stranger = server.run("stranger", &["devices", "--server", &server.page], &[]);
    assert_eq!(stranger.code, 1, "{stranger:?}");
    assert!(stranger.err.contains("otaria login"), "{stranger:?}");

    // The password is in a file that only its owner reads, since nobody looks at a terminal here.
    let file = server.dir.path().join("data/admin-password");
    #[cfg(unix)]
    for file in [&file, &server.config("admin")] {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = fs::metadata(file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", file.display());
    }
    let file = file.to_str().unwrap();
    let login = ["login", &server.page, "--password-file", file, "--json"];
    let said = server.ok("stranger", &login, &[]);
    let secret = fs::read_to_string(file).unwrap();
    assert!(
        !said.contains("otaria_") && !said.contains(secret.trim()),
        "{said}"
    );
    server.ok("stranger", &["devices"], &[]);
    server.ok("stranger", &["logout"], &[]);
    assert_eq!(
        server
            .run("stranger", &["devices", "--server", &server.page], &[])
            .code,
        1
    );
    let wrong = [("OTARIA_PASSWORD", "wrong")];
    let refused = server.run("stranger", &["login", &server.page], &wrong);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert_eq!(server.run("stranger", &["login"], &[]).code, 2);
}

#[test]
fn who_changed_what_is_listed_and_found_whole_by_an_admin_alone() {
    let server = Server::start(&[]);
    let new = [("OTARIA_NEW_PASSWORD", PASSWORD)];
    server.ok("admin", &["user", "add", "eva", "--role", "viewer"], &new);
    let listed = server.ok("admin", &["audit", "list", "--limit", "1"], &[]);
    assert!(
        listed.contains("admin (") && listed.contains("127.0.0.1  user.add eva"),
        "{listed}"
    );
    let whole = server.ok("admin", &["audit", "verify"], &[]);
    let head = whole.lines().find_map(|line| line.strip_prefix("head "));
    let head = head.unwrap_or_else(|| panic!("{whole}"));
    server.ok("admin", &["user", "remove", "eva"], &[]);
    server.ok("admin", &["audit", "verify", "--head", head], &[]);
    let other = format!("1:{}", "0".repeat(64));
    let broken = server.run("admin", &["audit", "verify", "--head", &other], &[]);
    assert!(
        broken.code == 1 && broken.out.contains("another chain"),
        "{broken:?}"
    );

    server.ok("admin", &["user", "add", "eva", "--role", "viewer"], &new);
    let password = [("OTARIA_PASSWORD", PASSWORD)];
    server.ok("eva", &["login", &server.page, "--user", "eva"], &password);
    let refused = server.run("eva", &["audit", "list"], &[]);
    assert_eq!(refused.code, 1, "{refused:?}");
}

#[test]
fn a_flag_counts_before_a_variable_and_a_variable_before_the_file() {
    let server = Server::start(&[]);
    // Nobody listens on port 1.
    let (dead, nobody) = (
        "http://127.0.0.1:1",
        "no server answers at http://127.0.0.1:1",
    );
    server.ok("admin", &["devices"], &[]);
    let variable = [("OTARIA_SERVER", dead)];
    let ran = server.run("admin", &["devices"], &variable);
    assert!(ran.code == 1 && ran.err.contains(nobody), "{ran:?}");
    server.ok("admin", &["devices", "--server", &server.page], &variable);
    let ran = server.run("admin", &["devices", "--server", dead], &[]);
    assert!(ran.code == 1 && ran.err.contains(nobody), "{ran:?}");

    let token = [("OTARIA_TOKEN", "otaria_x_y")];
    assert_eq!(server.run("admin", &["devices"], &token).code, 1);
    let config = std::fs::read_to_string(server.config("admin")).unwrap();
    let known = config
        .lines()
        .find_map(|line| line.strip_prefix("token = "));
    let known = known.unwrap().trim_matches('"');
    server.ok("admin", &["devices", "--token", known], &token);
}

#[test]
fn a_viewer_looks_and_publishes_nothing() {
    let server = Server::start(&[]);
    let new = [("OTARIA_NEW_PASSWORD", PASSWORD)];
    server.ok("admin", &["user", "add", "eva", "--role", "viewer"], &new);
    let listed = server.ok("admin", &["user", "list", "--json"], &[]);
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed[1]["name"], "eva", "{listed}");
    assert!(listed[1].get("password").is_none(), "{listed}");

    let password = [("OTARIA_PASSWORD", PASSWORD)];
    let login = ["login", &server.page, "--user", "eva"];
    server.ok("eva", &login, &password);
    server.ok("eva", &["devices"], &[]);
    for arguments in [
        &["publish", &package(), "--all"][..],
        &["user", "list"],
        &["device", "revoke", "pump-1"],
        &["token", "create", "x", "--scope", "publish"],
    ] {
        let ran = server.run("eva", arguments, &[]);
        assert_eq!(ran.code, 1, "{arguments:?} {ran:?}");
    }
    server.ok("admin", &["user", "remove", "eva"], &[]);
    assert_eq!(server.run("eva", &["devices"], &[]).code, 1);
    // Without a terminal nobody is asked, and nothing hangs.
    let silent = server.run("admin", &["user", "add", "x", "--role", "viewer"], &[]);
    assert!(
        silent.code == 1 && silent.err.contains("--password-file"),
        "{silent:?}"
    );
    let role = server.run("admin", &["user", "add", "x", "--role", "king"], &new);
    assert_eq!(role.code, 2, "{role:?}");
}

#[test]
fn a_program_comes_with_a_token_that_does_what_it_needs() {
    let server = Server::start(&[]);
    let create = ["token", "create", "ci", "--scope", "publish", "--days", "1"];
    let made = server.ok("admin", &create, &[]);
    let token = made.trim();
    assert!(
        token.starts_with("otaria_") && !token.contains(' '),
        "{token}"
    );
    let program = [
        ("OTARIA_TOKEN", token),
        ("OTARIA_SERVER", server.page.as_str()),
    ];
    let devices = server.run("program", &["devices"], &program);
    assert!(
        devices.code == 1 && devices.err.contains("scope 'read'"),
        "{devices:?}"
    );
    let publish = ["publish", &package(), "--device", "pump-1", "--unseen"];
    server.ok("program", &publish, &program);
    let id = token.split('_').nth(1).unwrap();
    let listed = server.ok("admin", &["token", "list"], &[]);
    assert!(listed.contains(id) && !listed.contains(token), "{listed}");
    server.ok("admin", &["token", "revoke", id], &[]);
    assert_eq!(server.run("program", &publish, &program).code, 1);
    let help = server.ok("program", &["devices", "--help"], &program);
    assert!(!help.contains(token), "{help}");
}

#[test]
fn a_server_with_tls_is_trusted_by_its_authority_alone() {
    let server = Server::start(&["--tls"]);
    server.ok("admin", &["devices"], &[]);
    let stranger = server.run("stranger", &["devices", "--server", &server.page], &[]);
    assert!(
        stranger.code == 1 && stranger.err.contains("--ca"),
        "{stranger:?}"
    );
    let out = server.dir.path().join("certs");
    let add = [
        "device",
        "add",
        "pump-7",
        "--out",
        out.to_str().unwrap(),
        "--json",
    ];
    let added: Value = serde_json::from_str(&server.ok("admin", &add, &[])).unwrap();
    assert_eq!(added["device"], "pump-7");
    for name in [
        "pump-7.key.pem",
        "pump-7.key.der",
        "pump-7.cert.pem",
        "ca.der",
    ] {
        assert!(out.join(name).is_file(), "{name}");
    }
    let again = server.run("admin", &add, &[]);
    assert!(again.code == 1 && again.err.contains("--csr"), "{again:?}");
    let revoked = server.ok("admin", &["device", "revoke", "pump-7", "--json"], &[]);
    let revoked: Value = serde_json::from_str(&revoked).unwrap();
    assert_eq!(revoked["serials"][0], added["serial"]);
}

#[cfg(unix)]
#[test]
fn a_log_in_that_others_can_read_is_not_used() {
    use std::os::unix::fs::PermissionsExt as _;
    let server = Server::start(&[]);
    let config = server.config("admin");
    fs::set_permissions(&config, fs::Permissions::from_mode(0o644)).unwrap();
    let ran = server.run("admin", &["devices"], &[]);
    assert!(ran.code == 1 && ran.err.contains("chmod 600"), "{ran:?}");
}

#[test]
fn access_lists_are_printed_for_two_brokers() {
    let dir = tempfile::tempdir().unwrap();
    let acl = |arguments: &[&str]| {
        let mut command = otaria(&dir.path().join("none"));
        let output = command.arg("acl").args(arguments).output().unwrap();
        (
            output.status.code().unwrap(),
            String::from_utf8(output.stdout).unwrap(),
        )
    };
    let (code, text) = acl(&["--format", "mosquitto"]);
    assert!(
        code == 0 && text.contains("pattern write otaria/v1/%u/state"),
        "{text}"
    );
    let (code, text) = acl(&["--format", "emqx", "--root", "plant"]);
    assert!(
        code == 0 && text.contains("\"plant/v1/${username}/desired\""),
        "{text}"
    );
    assert_eq!(acl(&["--format", "emqx", "--root", "a/#"]).0, 2);
    assert_eq!(acl(&[]).0, 2);
}
