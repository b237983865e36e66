//! A fresh directory that only our own user can enter, and that goes with us.

use std::ffi::OsStr;
use std::fmt::Write;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, FlockOperation, Mode, OFlags, Stat, fchmod, flock, fstat, mkdirat,
    openat, stat, statat, unlinkat,
};
use rustix::process::{Pid, geteuid, getpid};

use crate::data::descriptors::Listed;
use crate::error::{Error, Result};

/// A directory of mode 0700 with an unguessable name, held open and locked. Dropping it removes it.
pub(crate) struct Directory {
    _listed: [Listed; 2],
    path: PathBuf,
    base: OwnedFd,
    descriptor: OwnedFd,
    name: String,
    /// Device and inode tell it from whatever else may come to stand at the path.
    made: Stat,
    owner: Pid,
}

impl Directory {
    /// Makes one under the first of `XDG_RUNTIME_DIR`, `TMPDIR` and `/tmp` that is safe, and short enough for a socket
    /// named `socket_name` in it.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) saying what is wrong with each.
    pub(crate) fn create(socket_name: &str) -> Result<Self> {
        let bases = ["XDG_RUNTIME_DIR", "TMPDIR"]
            .into_iter()
            .filter_map(std::env::var_os)
            .map(PathBuf::from)
            .chain([PathBuf::from("/tmp")]);
        Self::create_under(bases, socket_name)
    }

    pub(crate) fn create_under(
        bases: impl Iterator<Item = PathBuf>,
        socket_name: &str,
    ) -> Result<Self> {
        let mut reasons = Vec::new();
        for base in bases {
            match make_in(&base, socket_name) {
                Ok(directory) => return Ok(directory),
                Err(reason) => reasons.push(format!("{}: {reason}", base.display())),
            }
        }
        Err(Error::config(format!(
            "no directory is fit for a private socket ({})",
            reasons.join("; ")
        ))
        .with_advice("set TMPDIR to a short path that only your user can write"))
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether what is at the path is still the directory that was made, open to nobody else.
    pub(crate) fn is_intact(&self) -> bool {
        statat(&self.base, &self.name, AtFlags::SYMLINK_NOFOLLOW)
            .is_ok_and(|found| self.is_same(&found) && is_ours_alone(&found))
            && stat(&self.path).is_ok_and(|found| self.is_same(&found))
    }

    /// Whether `name` in it is a socket of ours.
    pub(crate) fn has_socket(&self, name: &str) -> bool {
        statat(&self.descriptor, name, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|found| {
            FileType::from_raw_mode(found.st_mode) == FileType::Socket
                && found.st_uid == geteuid().as_raw()
        })
    }

    /// Makes it anew after it was deleted, at the same path if nothing took its place.
    pub(crate) fn recreate(&self, socket_name: &str) -> Result<Self> {
        let parent = self.path.parent().unwrap_or(Path::new("/")).to_owned();
        match make_named(&parent, &self.name) {
            Ok(directory) => Ok(directory),
            Err(_) => Self::create(socket_name),
        }
    }

    fn is_same(&self, found: &Stat) -> bool {
        found.st_dev == self.made.st_dev && found.st_ino == self.made.st_ino
    }
}

impl Drop for Directory {
    /// In the child of a fork nothing is removed: it is the parent's.
    fn drop(&mut self) {
        let here = statat(&self.base, &self.name, AtFlags::SYMLINK_NOFOLLOW);
        if self.owner == getpid() && here.is_ok_and(|found| self.is_same(&found)) {
            empty(&self.descriptor);
            // What somebody else of our user put there keeps it.
            let _ = unlinkat(&self.base, &self.name, AtFlags::REMOVEDIR);
        }
    }
}

fn make_in(base: &Path, socket_name: &str) -> Result<Directory, String> {
    if !base.is_absolute() {
        return Err("not an absolute path".to_owned());
    }
    // A link in the path is followed once, here; what it leads to is then checked link-free.
    let base = base.canonicalize().map_err(|error| error.to_string())?;
    check_ancestors(&base)?;
    let name = random_name()?;
    let length = base.as_os_str().len() + 1 + name.len() + 1 + socket_name.len();
    if length >= MAX_SOCKET_PATH {
        return Err(format!(
            "a socket's path under it would have {length} bytes, more than {}",
            MAX_SOCKET_PATH - 1
        ));
    }
    sweep(&base);
    make_named(&base, &name)
}

fn make_named(base: &Path, name: &str) -> Result<Directory, String> {
    let text = |error: rustix::io::Errno| io::Error::from(error).to_string();
    let base_descriptor = openat(CWD, base, OPEN_DIRECTORY, Mode::empty()).map_err(text)?;
    mkdirat(&base_descriptor, name, Mode::RWXU).map_err(text)?;
    let descriptor = openat(&base_descriptor, name, OPEN_DIRECTORY, Mode::empty()).map_err(text)?;
    // The umask may have taken bits that we need.
    fchmod(&descriptor, Mode::RWXU).map_err(text)?;
    flock(&descriptor, FlockOperation::NonBlockingLockExclusive).map_err(text)?;
    let made = fstat(&descriptor).map_err(text)?;
    let directory = Directory {
        _listed: [Listed::new(&base_descriptor), Listed::new(&descriptor)],
        path: base.join(name),
        base: base_descriptor,
        descriptor,
        name: name.to_owned(),
        made,
        owner: getpid(),
    };
    match directory.is_intact() {
        true => Ok(directory),
        false => Err("the new directory was replaced at once".to_owned()),
    }
}

/// Every directory on the way must be root's or ours, and writable by others only if sticky: otherwise somebody could
/// move ours away and put their own in its place.
fn check_ancestors(path: &Path) -> Result<(), String> {
    let us = geteuid().as_raw();
    for ancestor in path.ancestors() {
        let found = statat(CWD, ancestor, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|error| format!("{}: {}", ancestor.display(), io::Error::from(error)))?;
        let mode = Mode::from_raw_mode(found.st_mode);
        let problem = if FileType::from_raw_mode(found.st_mode) != FileType::Directory {
            "is not a directory"
        } else if found.st_uid != 0 && found.st_uid != us {
            "belongs to another user"
        } else if mode.intersects(Mode::WGRP | Mode::WOTH) && !mode.contains(Mode::SVTX) {
            "is writable by others"
        } else {
            continue;
        };
        return Err(format!("{} {problem}", ancestor.display()));
    }
    Ok(())
}

/// Removes directories of ours whose processes were killed before they could: old ones that nobody holds locked.
fn sweep(base: &Path) {
    let Ok(base_descriptor) = openat(CWD, base, OPEN_DIRECTORY, Mode::empty()) else {
        return;
    };
    let Ok(entries) = Dir::read_from(&base_descriptor) else {
        return;
    };
    let names: Vec<_> = entries
        .take(MAX_SWEPT)
        .filter_map(|entry| Some(entry.ok()?.file_name().to_owned()))
        .filter(|name| name.to_str().is_ok_and(is_our_name))
        .collect();
    for name in names {
        let Ok(descriptor) = openat(&base_descriptor, &name, OPEN_DIRECTORY, Mode::empty()) else {
            continue;
        };
        let is_stale = fstat(&descriptor).is_ok_and(|found| is_ours(&found) && is_old(&found))
            && flock(&descriptor, FlockOperation::NonBlockingLockExclusive).is_ok();
        if is_stale {
            empty(&descriptor);
            // One that holds anything but sockets is not ours to remove.
            let _ = unlinkat(&base_descriptor, &name, AtFlags::REMOVEDIR);
        }
    }
}

/// Removes the sockets in a directory.
fn empty(descriptor: &OwnedFd) {
    let Ok(entries) = Dir::read_from(descriptor) else {
        return;
    };
    for entry in entries.flatten() {
        let is_socket = statat(descriptor, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW)
            .is_ok_and(|found| FileType::from_raw_mode(found.st_mode) == FileType::Socket);
        if is_socket {
            let _ = unlinkat(descriptor, entry.file_name(), AtFlags::empty());
        }
    }
}

fn is_ours(found: &Stat) -> bool {
    FileType::from_raw_mode(found.st_mode) == FileType::Directory
        && found.st_uid == geteuid().as_raw()
}

fn is_ours_alone(found: &Stat) -> bool {
    is_ours(found)
        && Mode::from_raw_mode(found.st_mode) & (Mode::RWXU | Mode::RWXG | Mode::RWXO) == Mode::RWXU
}

fn is_old(found: &Stat) -> bool {
    let changed =
        SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(found.st_mtime).unwrap_or(0));
    SystemTime::now()
        .duration_since(changed)
        .is_ok_and(|age| age > STALE_AFTER)
}

/// Whether [`random_name`] could have made it.
fn is_our_name(name: &str) -> bool {
    name.strip_prefix(PREFIX).is_some_and(|digits| {
        digits.len() == 2 * RANDOM_BYTES && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
    })
}

fn random_name() -> Result<String, String> {
    let mut bytes = [0; RANDOM_BYTES];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| "no random numbers".to_owned())?;
    Ok(bytes.iter().fold(PREFIX.to_owned(), |mut name, byte| {
        let _ = write!(name, "{byte:02x}");
        name
    }))
}

/// Whether a socket may have this name: one plain component.
pub(crate) fn is_plain_name(name: &str) -> bool {
    let bytes = OsStr::new(name).as_bytes();
    !bytes.is_empty()
        && name != "."
        && name != ".."
        && !bytes.iter().any(|byte| matches!(byte, b'/' | 0))
}

const OPEN_DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

const PREFIX: &str = "iamsql-";

const RANDOM_BYTES: usize = 8;

/// The system's limit for the path of a Unix socket, with the byte that ends it.
const MAX_SOCKET_PATH: usize = if cfg!(target_os = "linux") { 108 } else { 104 };

/// Younger directories may be in the making: they are locked a moment after they are made.
const STALE_AFTER: Duration = Duration::from_secs(60);

/// A crowded `/tmp` is not worth more than this many entries.
const MAX_SWEPT: usize = 4_096;

#[cfg(test)]
mod tests;
