//! A CA's certificate as a file, for clients that read whom to trust from one.

use std::io::Write as _;

use anyhow::Context as _;

/// A file that is gone with this process, however it ends: on Linux it exists in memory alone.
pub(crate) struct Roots(Held);

#[cfg(target_os = "linux")]
type Held = std::fs::File;
#[cfg(not(target_os = "linux"))]
type Held = tempfile::NamedTempFile;

impl Roots {
    pub(crate) fn new(pem: &str) -> anyhow::Result<Self> {
        let mut file = open().context("cannot make a file for a CA certificate")?;
        file.write_all(pem.as_bytes())
            .context("cannot write a CA certificate")?;
        #[cfg(target_os = "linux")]
        rustix::fs::fcntl_add_seals(&file, SEALS).context("cannot seal a CA certificate")?;
        Ok(Roots(file))
    }

    /// Where processes of the same user find it.
    pub(crate) fn path(&self) -> String {
        #[cfg(target_os = "linux")]
        {
            use std::os::fd::AsRawFd as _;
            format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
        }
        #[cfg(not(target_os = "linux"))]
        self.0.path().display().to_string()
    }
}

#[cfg(target_os = "linux")]
fn open() -> std::io::Result<Held> {
    use rustix::fs::{MemfdFlags, memfd_create};
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    Ok(memfd_create("iamsql-emulator-ca", flags)?.into())
}

#[cfg(not(target_os = "linux"))]
fn open() -> std::io::Result<Held> {
    tempfile::NamedTempFile::new()
}

/// Nobody changes it any more.
#[cfg(target_os = "linux")]
const SEALS: rustix::fs::SealFlags = rustix::fs::SealFlags::WRITE
    .union(rustix::fs::SealFlags::GROW)
    .union(rustix::fs::SealFlags::SHRINK)
    .union(rustix::fs::SealFlags::SEAL);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_process_reads_it_as_often_as_it_likes() {
        let roots = Roots::new("one\ntwo\n").unwrap();
        for _ in 0..2 {
            let output = std::process::Command::new("cat").arg(roots.path()).output();
            assert_eq!(output.unwrap().stdout, b"one\ntwo\n");
        }
    }
}
