//! Brokers and web servers that others wrote, each with its own files on a free port, gone when dropped.
#![allow(dead_code, reason = "every test file uses some of these")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A server's process and its files.
pub(crate) struct Server {
    process: Child,
    command: Command,
    pub(crate) port: u16,
    pub(crate) dir: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Server {
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/{path}", self.port)
    }

    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    pub(crate) fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// Tells it to read its configuration again.
    pub(crate) fn reload(&self) {
        let id = self.process.id().to_string();
        let status = Command::new("kill").args(["-HUP", &id]).status();
        assert!(status.unwrap().success());
    }

    /// Starts it again, on its port and with what it has kept.
    pub(crate) fn restart(&mut self) {
        self.process = self.command.spawn().unwrap();
        assert!(listens(self.port, &mut self.process), "it does not start");
    }
}

/// Where a program is. If it is not installed the test says so and does not run, unless that is forbidden, as in CI.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/usr/local/sbin".into()])
        .map(|folder| folder.join(program))
        .find(|path| path.is_file());
    if found.is_none() {
        assert!(
            std::env::var_os("OTARIA_REQUIRE_PEERS").is_none(),
            "{program} is not installed"
        );
        println!("skipped: {program} is not installed");
    }
    found
}

/// A file that `cargo xtask test` fetches and names in a variable, unless it is missing and may be.
pub(crate) fn fetched(variable: &str) -> Option<PathBuf> {
    let file = std::env::var_os(variable);
    assert!(
        file.is_some() || std::env::var_os("OTARIA_REQUIRE_PEERS").is_none(),
        "{variable} names no file"
    );
    if file.is_none() {
        println!("skipped: {variable} names no file; `cargo xtask test` has it");
    }
    file.map(PathBuf::from)
}

/// The Python that `cargo xtask` has set up, else the system's.
pub(crate) fn python_program() -> std::ffi::OsString {
    std::env::var_os("OTARIA_PYTHON").unwrap_or_else(|| "python3".into())
}

/// Whether Python has a module. If not, it is as with [`find`].
pub(crate) fn python_has(module: &str) -> bool {
    let mut command = Command::new(python_program());
    command
        .args(["-c", &format!("import {module}")])
        .stderr(Stdio::null());
    let found = command.status().is_ok_and(|status| status.success());
    assert!(
        found || std::env::var_os("OTARIA_REQUIRE_PEERS").is_none(),
        "Python's module {module} is not there"
    );
    if !found {
        println!("skipped: Python's module {module} is not there");
    }
    found
}

/// Waits until something listens on `port`, or `process` has ended.
pub(crate) fn listens(port: u16, process: &mut Child) -> bool {
    loop {
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return true;
        }
        if process.try_wait().unwrap().is_some() {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A port that nobody has at the moment.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// Starts a program that has to be told a port. Between finding a free one and using it somebody else may take it: then once more.
fn on_free_port(dir: tempfile::TempDir, start: impl Fn(&Path, u16) -> Command) -> Server {
    for _ in 0..10 {
        let port = free_port();
        let mut command = start(dir.path(), port);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut process = command.spawn().unwrap();
        if listens(port, &mut process) {
            return Server {
                process,
                command,
                port,
                dir,
            };
        }
    }
    panic!("the server does not start");
}

/// Mosquitto with these lines in its configuration.
pub(crate) fn mosquitto(config: &str) -> Option<Server> {
    let program = find("mosquitto")?;
    let config = config.to_owned();
    Some(on_free_port(tempfile::tempdir().unwrap(), |dir, port| {
        let root = dir.display();
        let lines = format!(
            "listener {port} 127.0.0.1\nuser root\npersistence true\npersistence_location {root}/\n{config}\n"
        );
        let file = dir.join("conf");
        fs::write(&file, lines).unwrap();
        let mut command = Command::new(&program);
        command.arg("-c").arg(file);
        command
    }))
}

/// Publishes with Mosquitto's own client, QoS 1.
pub(crate) fn mosquitto_pub(port: u16, topic: &str, payload: &str, retain: bool) -> bool {
    let Some(program) = find("mosquitto_pub") else {
        return false;
    };
    let mut command = Command::new(program);
    command.args([
        "-h",
        "127.0.0.1",
        "-p",
        &port.to_string(),
        "-q",
        "1",
        "-t",
        topic,
        "-m",
        payload,
    ]);
    if retain {
        command.arg("-r");
    }
    command.status().unwrap().success()
}

/// A directory with `www` and these files in it.
fn www(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("www")).unwrap();
    for (name, bytes) in files {
        let file = dir.path().join("www").join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, bytes).unwrap();
    }
    dir
}

/// nginx, which knows ranges and entity tags. `locations` goes into its server block.
pub(crate) fn nginx(files: &[(&str, &[u8])], locations: &str) -> Option<Server> {
    // As root, nginx would read the files as another user, who may not enter the directory: hence no worker processes.
    let main = "master_process off; events {}";
    let http = "log_format ranges '$request_method $uri $status $http_range';
        access_log {root}/requests ranges;
        gzip on; gzip_types *; gzip_min_length 1; gzip_proxied any; gzip_http_version 1.0;";
    nginx_with(files, main, http, locations)
}

/// nginx with these lines in its configuration, by block. `{root}` and `{port}` stand for its own.
pub(crate) fn nginx_with(
    files: &[(&str, &[u8])],
    main: &str,
    http: &str,
    server: &str,
) -> Option<Server> {
    let program = find("nginx")?;
    let config = format!(
        "daemon off; pid {{root}}/pid; error_log {{root}}/log; {main}
         http {{
            client_body_temp_path {{root}}/b; proxy_temp_path {{root}}/p;
            fastcgi_temp_path {{root}}/f; uwsgi_temp_path {{root}}/u; scgi_temp_path {{root}}/s;
            {http}
            server {{ listen 127.0.0.1:{{port}}; root {{root}}/www; {server} }}
         }}"
    );
    Some(on_free_port(www(files), |dir, port| {
        let root = dir.display().to_string();
        let config = config
            .replace("{root}", &root)
            .replace("{port}", &port.to_string());
        let file = dir.join("nginx.conf");
        fs::write(&file, config).unwrap();
        let mut command = Command::new(&program);
        command
            .args(["-e", "stderr", "-p"])
            .arg(dir)
            .arg("-c")
            .arg(file);
        command
    }))
}

/// Python's `http.server`, which knows neither ranges nor entity tags and speaks HTTP/1.0.
pub(crate) fn python(files: &[(&str, &[u8])]) -> Option<Server> {
    let program = find("python3")?;
    let dir = www(files);
    let mut command = Command::new(program);
    command
        .args(["-u", "-m", "http.server", "--bind", "127.0.0.1", "0"])
        .current_dir(dir.path().join("www"))
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut process = command.spawn().unwrap();
    // "Serving HTTP on 127.0.0.1 port 43210 (http://...) ..."
    let mut line = String::new();
    BufReader::new(process.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let mut words = line.split(' ').skip_while(|word| *word != "port");
    let port = words.nth(1).unwrap().parse().unwrap();
    Some(Server {
        process,
        command,
        port,
        dir,
    })
}
