//! One supervisor a prefix: a file lock, held as long as the process, in a file with its pid.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::fcntl::{Flock, FlockArg};

use super::boot::DriverError;

/// The lock of a prefix; it holds its supervisor's pid.
#[derive(Debug)]
pub(super) struct Lock {
    _file: Flock<File>,
}

impl Lock {
    pub(super) fn take(path: &Path, prefix: &str) -> Result<Lock, DriverError> {
        let io = |op| {
            move |source| DriverError::Io {
                op,
                path: path.to_owned(),
                source,
            }
        };
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(io("open"))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(mut file) => {
                let pid = format!("{}\n", std::process::id());
                let written = file
                    .set_len(0)
                    .and_then(|()| file.rewind())
                    .and_then(|()| file.write_all(pid.as_bytes()));
                written.map_err(io("write"))?;
                Ok(Lock { _file: file })
            }
            Err((mut file, nix::errno::Errno::EWOULDBLOCK)) => {
                let mut pid = String::new();
                let _ = file.read_to_string(&mut pid);
                Err(DriverError::Running {
                    prefix: prefix.to_owned(),
                    pid: pid.trim().to_owned(),
                })
            }
            Err((_, errno)) => Err(io("lock")(errno.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    #[test]
    fn a_second_supervisor_is_told_the_first_ones_pid() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("lock");
        let _first = Lock::take(&path, "edge1").expect("free");
        let error = Lock::take(&path, "edge1").expect_err("taken");
        assert_eq!(
            error.to_string(),
            format!(
                "edge1 runs already: its supervisor is pid {}",
                std::process::id()
            )
        );
        assert_eq!(error.exit(), Exit::Busy);
        drop(_first);
        Lock::take(&path, "edge1").expect("free again");
    }
}
