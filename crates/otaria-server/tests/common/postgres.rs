//! PostgreSQL for tests: a cluster of this process, in a directory of its own, reached by a Unix socket in there. It ends with
//! the process, however that ends.

#![allow(dead_code, reason = "each user of this file uses a part of it")]

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{LazyLock, Mutex};
use std::time::{Duration, Instant};

/// Runs the tests against PostgreSQL if it is `postgres`.
pub(crate) const ASKED: &str = "OTARIA_TEST_DATABASE";
/// Starts the cluster, and ends it and removes its files when nobody holds its standard input any more.
const KEEP: &str = r#"
"$1" -D "$2/data" -k "$2" -c listen_addresses= -c "fsync=$3" -c max_connections=300 >"$2/log" 2>&1 &
cat
kill -QUIT $!
wait
rm -rf "$2"
"#;
const USER: &str = "otaria";

/// A cluster; its process ends when this one does.
pub(crate) struct Cluster {
    programs: PathBuf,
    dir: PathBuf,
    made: Mutex<HashSet<String>>,
    _keeper: Child,
}

static CLUSTER: LazyLock<Option<Cluster>> = LazyLock::new(|| Cluster::start("off"));

/// The database for a data directory, if tests run against PostgreSQL at all.
pub(crate) fn database_for(data: &Path) -> Option<String> {
    if std::env::var(ASKED).ok()?.as_str() != "postgres" {
        return None;
    }
    let name: String = data
        .file_name()?
        .as_encoded_bytes()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let cluster = CLUSTER.as_ref().expect("PostgreSQL was asked for");
    Some(cluster.database(&format!("t{name}")))
}

/// The cluster of this process; nothing, with a word why, if PostgreSQL is not installed and may be missing.
pub(crate) fn cluster() -> Option<&'static Cluster> {
    CLUSTER.as_ref()
}

impl Cluster {
    /// One that waits for the disk, as everybody's does: for measurements.
    pub(crate) fn durable() -> Option<Self> {
        Self::start("on")
    }

    fn start(fsync: &str) -> Option<Self> {
        let Some(programs) = programs() else {
            assert!(
                std::env::var_os("OTARIA_REQUIRE_PEERS").is_none(),
                "PostgreSQL is not installed"
            );
            println!("skipped: PostgreSQL is not installed");
            return None;
        };
        let dir = tempfile::Builder::new()
            .prefix("otaria-postgres-")
            .tempdir()
            .unwrap()
            .keep();
        // It does not run as root.
        if let Some((user, group)) = somebody_else() {
            chown(&dir, Some(user), Some(group)).unwrap();
            fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let mut initdb = as_somebody_else(&programs.join("initdb"));
        initdb
            .args(["--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C"])
            .args(["-U", USER, "-D"])
            .arg(dir.join("data"))
            .stdout(Stdio::null());
        assert!(initdb.status().unwrap().success(), "initdb");
        let mut keeper = as_somebody_else(Path::new("sh"));
        keeper
            .args(["-c", KEEP, "sh"])
            .arg(programs.join("postgres"))
            .arg(&dir)
            .arg(fsync)
            .stdin(Stdio::piped())
            .stdout(Stdio::null());
        let keeper = keeper.spawn().unwrap();
        let cluster = Self {
            programs,
            dir,
            made: Mutex::default(),
            _keeper: keeper,
        };
        let deadline = Instant::now() + Duration::from_secs(60);
        while !cluster.tool("pg_isready").status().unwrap().success() {
            assert!(Instant::now() < deadline, "PostgreSQL does not start");
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(cluster)
    }

    /// The address of the database of this name, which is made if it is not there.
    pub(crate) fn database(&self, name: &str) -> String {
        if self.made.lock().unwrap().insert(name.to_owned()) {
            let made = self.tool("createdb").arg(name).status().unwrap();
            assert!(made.success(), "createdb {name}");
        }
        let socket = self.dir.display();
        format!("postgres://{USER}@localhost/{name}?host={socket}")
    }

    fn tool(&self, name: &str) -> Command {
        let mut command = Command::new(self.programs.join(name));
        command
            .arg("-h")
            .arg(&self.dir)
            .args(["-U", USER])
            .stdout(Stdio::null());
        command
    }
}

/// Where PostgreSQL's programs are: Debian keeps them by version, others on the path.
fn programs() -> Option<PathBuf> {
    let mut versions: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|version| Some(version.ok()?.path().join("bin")))
        .collect();
    versions.sort();
    let path = std::env::var_os("PATH").unwrap_or_default();
    versions
        .into_iter()
        .rev()
        .chain(std::env::split_paths(&path))
        .find(|folder| folder.join("initdb").is_file() && folder.join("postgres").is_file())
}

/// The user and group `postgres`, if this is root.
fn somebody_else() -> Option<(u32, u32)> {
    let id = |arguments: &[&str]| -> u32 {
        let id = Command::new("id").args(arguments).output().unwrap();
        let text = String::from_utf8(id.stdout).unwrap();
        text.trim().parse().expect("a number")
    };
    (id(&["-u"]) == 0).then(|| (id(&["-u", "postgres"]), id(&["-g", "postgres"])))
}

fn as_somebody_else(program: &Path) -> Command {
    if somebody_else().is_none() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=postgres", "--regid=postgres", "--clear-groups"])
        .arg(program)
        .current_dir("/");
    command
}
