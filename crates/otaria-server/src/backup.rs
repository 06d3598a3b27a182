//! A copy of what a server on one machine keeps, made while it works, and put back where nothing is yet.
//!
//! ```text
//! BACKUP/manifest.json      what there is, with length and SHA-256; written last, so a backup without it is none
//! BACKUP/otaria.db          the database at one moment
//! BACKUP/packages/…         the files of all packages that it names; they never change, so they are copied after it. Packages in a
//!                           bucket stay there: it is looked whether each is there, and the manifest names the bucket
//! BACKUP/tls/…              the server's authority, certificates and their private keys
//! ```
//! The embedded broker's files are left out: what is declared is in the database, and devices report again when they connect.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Component, Path, PathBuf};

use otaria_wire::{Sha256Digest, Sha256Hasher};
use serde::{Deserialize, Serialize};

use crate::config::{Database, PackageStore};
use crate::packages::{self, Bucket, BucketError};
use crate::store::{self, Store, StoreError, TransferError};

const MANIFEST: &str = "manifest.json";
/// What this version writes and reads.
const FORMAT: u32 = 1;

/// What is in a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    format: u32,
    /// The version of the server that made it.
    pub version: String,
    /// When, in unix seconds.
    pub made_at: i64,
    /// The bucket where the packages are, if they are not among the files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bucket: Option<String>,
    /// All files but the manifest.
    pub files: Vec<Entry>,
}

/// A file in a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Where, from the directory of the backup, with `/`.
    pub path: String,
    /// Bytes.
    pub len: u64,
    /// Of its content.
    pub sha256: Sha256Digest,
}

impl Manifest {
    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.len).sum()
    }
}

/// Why there is no backup, or nothing was restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// No SQLite file.
    #[error(
        "there is no {} in {}; of a server on PostgreSQL, back the database up with pg_dump and copy packages and tls beside it",
        store::FILE, .0.display()
    )]
    NoDatabase(PathBuf),
    /// Something is there.
    #[error("{} is there already; nothing is ever replaced", .0.display())]
    Exists(PathBuf),
    /// A file could not be read or written.
    #[error("{}", .0.display())]
    File(PathBuf, #[source] io::Error),
    /// A file is not what it should be.
    #[error("{} is damaged: its SHA-256 is not the one that it should have", .0.display())]
    Damaged(PathBuf),
    /// The manifest is missing, or cannot be read.
    #[error("{dir} is no backup that this version can read: {1}", dir = .0.display())]
    Manifest(PathBuf, String),
    /// A package is not in the bucket, or the bucket cannot be asked.
    #[error("package {0}")]
    Bucket(Sha256Digest, #[source] BucketError),
    /// The bucket cannot be used.
    #[error("the packages' bucket")]
    NoBucket(#[source] BucketError),
    /// The PostgreSQL database is not empty.
    #[error(
        "the database that --database names is not empty: there are rows in its table '{0}'. Nothing is ever replaced; make a new \
         database with createdb"
    )]
    Occupied(String),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Copies what the server keeps in `data` to the new directory `to`. The server may be at work meanwhile. `packages` says where the
/// packages are; those in a bucket stay there. Waits for the disk: nothing for a thread that serves others.
///
/// # Errors
/// See [`BackupError`]; the directory is not there after an error.
pub async fn backup(
    data: &Path,
    packages: &PackageStore,
    to: &Path,
) -> Result<Manifest, BackupError> {
    let database = data.join(store::FILE);
    if !database.is_file() {
        return Err(BackupError::NoDatabase(data.to_owned()));
    }
    let dir = Unfinished::new(to)?;
    let copy = dir.path.join(store::FILE);
    let stored = store::snapshot(&database, &copy).await?;
    private(&copy)?;
    let mut files = vec![hashed(&dir.path, store::FILE)?];
    let own = data.join("packages");
    let bucket = match packages {
        PackageStore::Own => {
            copy_packages(&own, &stored, &dir.path, &mut files)?;
            None
        }
        PackageStore::Directory(packages) => {
            copy_packages(packages, &stored, &dir.path, &mut files)?;
            None
        }
        PackageStore::Bucket(url) => {
            let bucket = Bucket::new(url.clone()).map_err(BackupError::NoBucket)?;
            for (digest, len) in &stored {
                let there = bucket.check(digest, *len).await;
                there.map_err(|error| BackupError::Bucket(*digest, error))?;
            }
            Some(url.to_string())
        }
    };
    for path in files_below(data, Path::new("tls"))? {
        files.push(copied(&data.join(&path), &dir.path, path)?);
    }
    let manifest = Manifest {
        format: FORMAT,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        made_at: crate::clock::now(),
        bucket,
        files,
    };
    let path = dir.path.join(MANIFEST);
    let text = serde_json::to_vec_pretty(&manifest).unwrap_or_default();
    create(&path)
        .and_then(|mut file| {
            file.write_all(&text)?;
            file.sync_all()
        })
        .map_err(at(&path))?;
    dir.finish(to)?;
    Ok(manifest)
}

impl From<TransferError> for BackupError {
    fn from(error: TransferError) -> Self {
        match error {
            TransferError::Store(error) => Self::Store(error),
            TransferError::Occupied(table) => Self::Occupied(table),
        }
    }
}

/// Puts a backup into the directory `data`, which must not be there yet, or be empty, and what is in its database into `database`,
/// which must be empty, too, if that is not a file in `data`. Every byte is checked first.
///
/// # Errors
/// See [`BackupError`]. After an error nothing is in `data`, and in a PostgreSQL database there are empty tables at most; but for
/// an end of the process, or of the disk, between the last two steps: then the database is moved, and `data` has to be restored by hand.
pub async fn restore(
    from: &Path,
    data: &Path,
    database: &Database,
) -> Result<Manifest, BackupError> {
    let path = from.join(MANIFEST);
    let unreadable = |why: String| BackupError::Manifest(from.to_owned(), why);
    let text = fs::read(&path).map_err(|error| unreadable(error.to_string()))?;
    let manifest: Manifest =
        serde_json::from_slice(&text).map_err(|error| unreadable(error.to_string()))?;
    if manifest.format != FORMAT {
        return Err(unreadable(format!("its format is {}", manifest.format)));
    }
    let empty = match fs::read_dir(data) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    };
    if !empty {
        return Err(BackupError::Exists(data.to_owned()));
    }
    let dir = Unfinished::new(data)?;
    for file in &manifest.files {
        let inside = Path::new(&file.path)
            .components()
            .all(|part| matches!(part, Component::Normal(_)));
        if !inside {
            return Err(unreadable(format!("it names {}", file.path)));
        }
        let source = from.join(&file.path);
        if copied(&source, &dir.path, file.path.clone())? != *file {
            return Err(BackupError::Damaged(source));
        }
    }
    store::check(&dir.path.join(store::FILE)).await?;
    if let Database::Postgres(url) = database {
        // Before it gets any tables.
        Store::is_free(url).await?;
        // What cannot be replaced (a mount point, for one) is to be known before anything is moved for good.
        make_way(data)?;
        transfer(&dir.path, database).await?;
    }
    dir.finish(data)?;
    Ok(manifest)
}

/// Copies the files of packages, and adds them to `files`.
fn copy_packages(
    from: &Path,
    stored: &[(Sha256Digest, u64)],
    to: &Path,
    files: &mut Vec<Entry>,
) -> Result<(), BackupError> {
    for (digest, _) in stored {
        let place = packages::place(digest);
        let source = from.join(&place);
        let entry = copied(&source, to, format!("packages/{place}"))?;
        if entry.sha256 != *digest {
            return Err(BackupError::Damaged(source));
        }
        files.push(entry);
    }
    Ok(())
}

/// Moves the database in `data` to another place.
async fn transfer(data: &Path, database: &Database) -> Result<(), BackupError> {
    let from = Store::open(&Database::File, data).await?;
    let to = Store::open(database, data).await?;
    let copied = to.copy_from(&from).await;
    from.close().await;
    to.close().await;
    copied?;
    let file = data.join(store::FILE);
    fs::remove_file(&file).map_err(at(&file))
}

/// Removes an empty directory, if there is one.
fn make_way(to: &Path) -> Result<(), BackupError> {
    match fs::remove_dir(to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(to)(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// A directory that gets its name when all is in it, and is removed if that does not come about.
struct Unfinished {
    path: PathBuf,
    finished: bool,
}

impl Unfinished {
    fn new(to: &Path) -> Result<Self, BackupError> {
        // An empty one is replaced.
        let taken = fs::read_dir(to).map_or_else(
            |error| error.kind() != io::ErrorKind::NotFound,
            |mut entries| entries.next().is_some(),
        );
        if taken {
            return Err(BackupError::Exists(to.to_owned()));
        }
        let mut name = to.file_name().unwrap_or_default().to_owned();
        name.push(".partial");
        let path = to.with_file_name(name);
        if path.exists() {
            return Err(BackupError::Exists(path));
        }
        private_dir(&path)?;
        Ok(Self {
            path,
            finished: false,
        })
    }

    fn finish(mut self, to: &Path) -> Result<(), BackupError> {
        make_way(to)?;
        fs::rename(&self.path, to).map_err(at(to))?;
        self.finished = true;
        Ok(())
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.finished {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> BackupError + use<> {
    let path = path.to_owned();
    |error| BackupError::File(path, error)
}

/// Copies a file to `path` below `to`, readable by its owner alone, and tells what was copied.
fn copied(from: &Path, to: &Path, path: String) -> Result<Entry, BackupError> {
    let target = to.join(&path);
    if let Some(parent) = target.parent()
        && !parent.is_dir()
    {
        private_dir(parent)?;
    }
    let mut source = File::open(from).map_err(at(from))?;
    let mut file = create(&target).map_err(at(&target))?;
    io::copy(&mut source, &mut file)
        .and_then(|_| file.sync_all())
        .map_err(at(&target))?;
    // Of what was written, not of what was read.
    hashed(to, &path)
}

fn hashed(dir: &Path, path: &str) -> Result<Entry, BackupError> {
    let file = dir.join(path);
    let failed = |error| BackupError::File(file.clone(), error);
    let mut reader = File::open(&file).map_err(failed)?;
    let (mut hasher, mut len) = (Sha256Hasher::new(), 0);
    let mut piece = [0; 64 * 1024];
    loop {
        let read = reader.read(&mut piece).map_err(failed)?;
        if read == 0 {
            break;
        }
        hasher.update(&piece[..read]);
        len += read as u64;
    }
    Ok(Entry {
        path: path.to_owned(),
        len,
        sha256: hasher.finish(),
    })
}

/// All files below a directory of `data`, as paths from `data` on; none if there is no such directory.
fn files_below(data: &Path, dir: &Path) -> Result<Vec<String>, BackupError> {
    let full = data.join(dir);
    if !full.is_dir() {
        return Ok(Vec::new());
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(&full).map_err(at(&full))? {
        let entry = entry.map_err(at(&full))?;
        let path = dir.join(entry.file_name());
        let kind = entry.file_type().map_err(at(&full))?;
        if kind.is_dir() {
            files.extend(files_below(data, &path)?);
        } else if kind.is_file() {
            let parts: Vec<_> = path.iter().map(|part| part.to_string_lossy()).collect();
            files.push(parts.join("/"));
        }
    }
    files.sort_unstable();
    Ok(files)
}

/// A new file for its owner alone: there are private keys and password hashes in a backup.
fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// A file that is there becomes its owner's alone.
fn private(path: &Path) -> Result<(), BackupError> {
    #[cfg(unix)]
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600))
        .map_err(at(path))?;
    #[cfg(not(unix))]
    let _ = path;
    Ok(())
}

/// A new directory for its owner alone, with those above it.
fn private_dir(path: &Path) -> Result<(), BackupError> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path).map_err(at(path))
}
