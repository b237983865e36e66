use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;

use super::*;
use crate::error::ErrorKind;

const SOCKET: &str = ".s.PGSQL.5432";

/// A base directory as safe as the test machine allows.
fn base() -> tempfile::TempDir {
    let base = tempfile::tempdir().unwrap();
    fs::set_permissions(base.path(), fs::Permissions::from_mode(0o700)).unwrap();
    base
}

fn create_in(base: &Path) -> Result<Directory> {
    Directory::create_under([base.to_owned()].into_iter(), SOCKET)
}

#[test]
fn a_directory_is_fresh_private_and_gone_when_dropped() {
    let base = base();
    let (one, two) = (
        create_in(base.path()).unwrap(),
        create_in(base.path()).unwrap(),
    );
    assert_ne!(one.path(), two.path());
    let mode = fs::metadata(one.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o700);
    let _listener = UnixListener::bind(one.path().join(SOCKET)).unwrap();
    assert!(one.has_socket(SOCKET) && !two.has_socket(SOCKET));
    drop((one, two));
    assert_eq!(fs::read_dir(base.path()).unwrap().count(), 0);
}

#[test]
fn a_base_that_others_may_write_is_refused_unless_sticky() {
    let base = base();
    let open = base.path().join("open");
    fs::create_dir(&open).unwrap();
    fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
    let error = create_in(&open).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(
        error.to_string().contains("is writable by others"),
        "{error}"
    );
    let below = open.join("below");
    fs::create_dir(&below).unwrap();
    assert!(create_in(&below).is_err(), "its parent is open");
    fs::set_permissions(&open, fs::Permissions::from_mode(0o1777)).unwrap();
    assert!(create_in(&open).is_ok());
}

#[test]
fn a_relative_long_or_missing_base_is_refused_and_the_next_is_taken() {
    let base = base();
    let long = base.path().join("x".repeat(90));
    fs::create_dir(&long).unwrap();
    for (unfit, reason) in [
        (PathBuf::from("tmp"), "not an absolute path"),
        (base.path().join("missing"), "No such file"),
        (long, "bytes, more than"),
    ] {
        let error = create_in(&unfit).err().unwrap();
        assert!(error.to_string().contains(reason), "{error}");
        let bases = [unfit, base.path().to_owned()].into_iter();
        assert!(Directory::create_under(bases, SOCKET).is_ok());
    }
}

#[test]
fn a_directory_that_was_replaced_is_noticed_and_left_alone() {
    let base = base();
    let directory = create_in(base.path()).unwrap();
    let path = directory.path().to_owned();
    let elsewhere = base.path().join("elsewhere");
    fs::rename(&path, &elsewhere).unwrap();
    assert!(!directory.is_intact());
    symlink(&elsewhere, &path).unwrap();
    assert!(!directory.is_intact(), "a link to it is not it");
    let anew = directory.recreate(SOCKET).unwrap();
    assert_ne!(anew.path(), path, "the name is taken");
    drop(directory);
    assert!(path.symlink_metadata().is_ok() && elsewhere.exists());
}

#[test]
fn a_deleted_directory_comes_back_at_the_same_path() {
    let base = base();
    let directory = create_in(base.path()).unwrap();
    fs::remove_dir(directory.path()).unwrap();
    assert!(!directory.is_intact());
    let anew = directory.recreate(SOCKET).unwrap();
    assert_eq!(anew.path(), directory.path());
    drop(directory);
    assert!(anew.is_intact(), "the old one does not remove the new one");
}

#[test]
fn a_directory_opened_to_others_is_not_intact() {
    let base = base();
    let directory = create_in(base.path()).unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    assert!(!directory.is_intact());
    let path = directory.path().to_owned();
    drop(directory);
    assert!(!path.exists(), "still ours to remove");
}

#[test]
fn what_a_killed_process_left_is_swept_up_and_nothing_else() {
    let base = base();
    let old = SystemTime::now() - Duration::from_secs(3600);
    let age = |path: &Path| fs::File::open(path).unwrap().set_modified(old).unwrap();
    let left = base.path().join("iamsql-0123456789abcdef");
    let kept = base.path().join("iamsql-1123456789abcdef");
    let young = base.path().join("iamsql-2123456789abcdef");
    let strange = base.path().join("iamsql-postgres.XYZ");
    for path in [&left, &kept, &young, &strange] {
        fs::create_dir(path).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o700)).unwrap();
    }
    drop(UnixListener::bind(left.join(SOCKET)).unwrap());
    drop(UnixListener::bind(strange.join(SOCKET)).unwrap());
    fs::write(kept.join("data"), "not ours").unwrap();
    age(&left);
    age(&kept);
    age(&strange);
    let live = create_in(base.path()).unwrap();
    age(live.path());
    let _another = create_in(base.path()).unwrap();
    assert!(!left.exists());
    assert!(strange.join(SOCKET).exists(), "whatever that is");
    assert!(kept.join("data").exists() && young.exists() && live.is_intact());
}
