//! Files that appear whole or not at all.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

/// Whether a file that is there already may be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// It stays, and writing fails with [`io::ErrorKind::AlreadyExists`].
    Keep,
    /// It is replaced in one step.
    Replace,
}

/// Who may read a new file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readers {
    /// The owner alone (mode 0600).
    Owner,
    /// As the process's umask says (0666 less the umask).
    Umask,
}

/// Writes a file through a temporary one in the same directory: it is synced and renamed only once it is complete,
/// so no reader, and no crash, ever sees part of it. On any error nothing is left behind.
pub fn write_atomically(
    path: &Path,
    readers: Readers,
    existing: Existing,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    if path.is_dir() {
        return Err(io::Error::from(io::ErrorKind::IsADirectory));
    }
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    // Named here, because the error of creating the temporary file would name that one.
    if !directory.is_dir() {
        let problem = format!("there is no directory {}", directory.display());
        return Err(io::Error::new(io::ErrorKind::NotFound, problem));
    }
    let mut builder = tempfile::Builder::new();
    builder.prefix(".otaria-").suffix(".tmp");
    // tempfile's own default is 0600.
    #[cfg(unix)]
    if readers == Readers::Umask {
        use std::os::unix::fs::PermissionsExt as _;
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    #[cfg(not(unix))]
    let _ = readers;
    let file = builder.tempfile_in(directory)?;
    {
        let mut out = io::BufWriter::new(file.as_file());
        write(&mut out)?;
        out.flush()?;
    }
    file.as_file().sync_all()?;
    match existing {
        Existing::Keep => file.persist_noclobber(path),
        Existing::Replace => file.persist(path),
    }
    .map_err(|e| e.error)?;
    // Without this the rename itself may be lost in a power failure.
    #[cfg(unix)]
    fs::File::open(directory)?.sync_all()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_leaves_nothing_and_keeps_the_old_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        fs::write(&path, b"old").unwrap();
        let result = write_atomically(&path, Readers::Umask, Existing::Replace, |out| {
            out.write_all(b"half")?;
            Err(io::Error::other("disk on fire"))
        });
        assert!(result.is_err());
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(
            fs::read_dir(dir.path()).unwrap().count(),
            1,
            "a temporary file was left"
        );
    }

    #[test]
    fn an_existing_file_is_kept_unless_told_to_replace_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        fs::write(&path, b"old").unwrap();
        let kept = write_atomically(&path, Readers::Umask, Existing::Keep, |out| {
            out.write_all(b"new")
        });
        assert_eq!(kept.unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"old");
        write_atomically(&path, Readers::Umask, Existing::Replace, |out| {
            out.write_all(b"new")
        })
        .unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_missing_directory_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("missing");
        let result = write_atomically(
            &missing.join("out"),
            Readers::Umask,
            Existing::Keep,
            |out| out.write_all(b"x"),
        );
        assert_eq!(
            result.unwrap_err().to_string(),
            format!("there is no directory {}", missing.display())
        );
    }

    #[cfg(unix)]
    #[test]
    fn a_secret_is_for_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        write_atomically(&path, Readers::Owner, Existing::Keep, |out| {
            out.write_all(b"x")
        })
        .unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }
}
