//! A path → a bound Unix socket, replacing what a killed proxy left and nothing else.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream as Probe;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rustix::fs::{FlockOperation, flock};
use rustix::process::geteuid;
use tokio::net::UnixListener;

use super::place::POSTGRES_SOCKET;

/// A bound Unix socket; its path is removed when it is dropped, unless another one has taken it.
#[derive(Debug)]
pub(crate) struct UnixDoor {
    socket: UnixListener,
    path: PathBuf,
    /// Device and inode of what was bound.
    identity: (u64, u64),
}

impl UnixDoor {
    pub(crate) fn socket(&self) -> &UnixListener {
        &self.socket
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for UnixDoor {
    fn drop(&mut self) {
        let is_ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|found| (found.dev(), found.ino()) == self.identity);
        if is_ours {
            // Gone already is as good.
            _ = fs::remove_file(&self.path);
        }
    }
}

/// Binds `path` with permissions `mode`; makes the last directory of PostgreSQL's layout.
///
/// # Errors
/// If the directory is missing, something else than a dead socket of ours is in the way, or binding fails.
pub(crate) fn bind(path: &Path, mode: u32) -> Result<UnixDoor> {
    let directory = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let base = match path.file_name().is_some_and(|name| name == POSTGRES_SOCKET) {
        true => make_directory(directory, mode)?,
        false => directory,
    };
    let opened = File::open(base).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            anyhow::anyhow!("stat {}: no such file or directory", base.display())
        }
        _ => anyhow::Error::new(error).context(format!("cannot open {}", base.display())),
    })?;
    anyhow::ensure!(
        opened.metadata()?.is_dir(),
        "{} is not a directory",
        base.display()
    );
    // Two proxies that start at once must not each take the other's socket for a dead one.
    flock(&opened, FlockOperation::LockExclusive)
        .with_context(|| format!("locking {}", base.display()))?;
    refuse_what_is_in_the_way(path)?;
    let bound = || -> Result<UnixDoor> {
        // Bound where nobody else can reach it and renamed, so that the path is never without its permissions, and what gets
        // them is what was bound.
        let apart = tempfile::Builder::new()
            .prefix(".")
            .permissions(Permissions::from_mode(0o700))
            .tempdir_in(directory)?;
        let beside = apart.path().join("s");
        let socket = UnixListener::bind(&beside)?;
        fs::set_permissions(&beside, Permissions::from_mode(mode))?;
        let metadata = fs::symlink_metadata(&beside)?;
        fs::rename(&beside, path)?;
        Ok(UnixDoor {
            socket,
            path: path.to_owned(),
            identity: (metadata.dev(), metadata.ino()),
        })
    };
    bound().with_context(|| format!("could not listen on {}", path.display()))
}

/// Makes the instance's own directory in its base, which has to exist. Who may use the socket must get through it.
fn make_directory(directory: &Path, mode: u32) -> Result<&Path> {
    let through = mode | (mode & 0o444) >> 2;
    match DirBuilder::new().mode(through).create(directory) {
        Ok(()) => Ok(directory),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(directory),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let base = directory.parent().unwrap_or(directory);
            bail!("stat {}: no such file or directory", base.display())
        }
        Err(error) => Err(error).with_context(|| format!("cannot make {}", directory.display())),
    }
}

/// Lets pass what nobody listens on any more, if it was ours.
fn refuse_what_is_in_the_way(path: &Path) -> Result<()> {
    let Ok(found) = fs::symlink_metadata(path) else {
        return Ok(());
    };
    let shown = path.display();
    if !found.file_type().is_socket() {
        bail!("{shown} is not a socket, and is left alone");
    }
    if found.uid() != geteuid().as_raw() {
        bail!("{shown} is a socket of another user, and is left alone");
    }
    match Probe::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        Ok(_) => bail!("listen unix {shown}: bind: address already in use"),
        Err(error) => Err(error).with_context(|| format!("cannot tell whether {shown} is in use")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_dead_socket_is_replaced_and_a_live_one_is_not() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("p:r:i");
        let door = bind(&path, 0o660).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o660);
        let error = bind(&path, 0o660).unwrap_err();
        assert!(
            format!("{error:#}").contains("address already in use"),
            "{error:#}"
        );
        drop(door);
        assert!(!path.exists());
        // As after SIGKILL: the path is there, and nobody listens.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        bind(&path, 0o660).unwrap();
    }

    #[tokio::test]
    async fn what_is_no_socket_is_left_alone() {
        let base = tempfile::tempdir().unwrap();
        let (file, link, target) = (
            base.path().join("f"),
            base.path().join("l"),
            base.path().join("t"),
        );
        fs::write(&file, "mine").unwrap();
        fs::write(&target, "mine").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        for path in [&file, &link] {
            assert!(
                bind(path, 0o660)
                    .unwrap_err()
                    .to_string()
                    .contains("left alone")
            );
            assert_eq!(fs::read_to_string(path).unwrap(), "mine");
        }
    }

    #[tokio::test]
    async fn the_postgres_directory_is_made_and_its_base_is_not() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("p:r:i").join(POSTGRES_SOCKET);
        let door = bind(&path, 0o660).unwrap();
        assert_eq!(door.path(), path);
        let missing = base.path().join("no").join("p:r:i").join(POSTGRES_SOCKET);
        let error = bind(&missing, 0o660).unwrap_err();
        assert!(
            error.to_string().starts_with("stat ")
                && error.to_string().ends_with("no such file or directory"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn another_ones_socket_is_not_removed() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("s");
        let door = bind(&path, 0o660).unwrap();
        fs::remove_file(&path).unwrap();
        let other = std::os::unix::net::UnixListener::bind(&path).unwrap();
        drop(door);
        assert!(path.exists());
        drop(other);
    }
}
