//! Binaries kept by content: a candidate is copied under its SHA-256 into the state directory,
//! and that copy is what runs, by descriptor, whatever happens to the original.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use baton_schema::Manifest;
use sha2::{Digest, Sha256};

use crate::exit::Exit;
use crate::history::hex;

/// How long a candidate may take to print its manifest or check a config.
const ANSWER_DEADLINE: Duration = Duration::from_secs(10);

/// Tries to execute a copy that another thread's fork still holds open for writing.
const BUSY_TRIES: u32 = 50;

/// A kept binary.
#[derive(Debug)]
pub struct Binary {
    /// Its content, in hex.
    pub sha256: String,
    /// Where it is kept.
    pub path: PathBuf,
    file: File,
}

/// A binary cannot be kept or run.
#[derive(Debug, thiserror::Error)]
pub enum BinaryError {
    /// The kernel refused.
    #[error("{}: cannot {op}: {source}", path.display())]
    Io {
        /// What was tried.
        op: &'static str,
        /// On what.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// It ended otherwise than asked.
    #[error("{name} --manifest {how}; is it a binary made with baton?")]
    NoManifest {
        /// The binary as the operator named it.
        name: String,
        /// Its end.
        how: String,
    },
    /// It speaks another version of the control messages.
    #[error("{name} speaks control messages v{found}, this supervisor v{wanted}: upgrade the {} first", if found > wanted { "supervisor" } else { "binary" })]
    Wire {
        /// The binary as the operator named it.
        name: String,
        /// Its version.
        found: u32,
        /// Ours.
        wanted: u32,
    },
    /// Its parser refuses the config.
    #[error("{message}")]
    Config {
        /// What it printed.
        message: String,
        /// Whether the config is good and this machine is not fit for it.
        unfit: bool,
    },
    /// The name is no kept binary.
    #[error("no binary {sha256} is kept in {}; it was pruned (upgrade.keep)", folder.display())]
    NotKept {
        /// Its content.
        sha256: String,
        /// Where it was looked for.
        folder: PathBuf,
    },
}

impl Binary {
    /// Copies `source` into `folder` under its content.
    pub fn keep(folder: &Path, source: &mut File) -> Result<Binary, BinaryError> {
        fs::create_dir_all(folder).map_err(|error| io_error("create", folder, error))?;
        let draft = folder.join(format!(
            ".draft-{}-{:?}",
            std::process::id(),
            std::thread::current().id()
        ));
        let result =
            copy_hashed(source, &draft).map_err(|error| io_error("copy to", &draft, error));
        let sha256 = match result {
            Ok(sha256) => sha256,
            Err(error) => {
                let _ = fs::remove_file(&draft);
                return Err(error);
            }
        };
        let path = folder.join(&sha256);
        fs::rename(&draft, &path).map_err(|error| io_error("rename to", &path, error))?;
        Binary::open(folder, &sha256)
    }

    /// Opens a binary that is kept already.
    pub fn open(folder: &Path, sha256: &str) -> Result<Binary, BinaryError> {
        let path = folder.join(sha256);
        match File::open(&path) {
            Ok(file) => Ok(Binary {
                sha256: sha256.to_owned(),
                path,
                file,
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(BinaryError::NotKept {
                sha256: sha256.to_owned(),
                folder: folder.to_owned(),
            }),
            Err(error) => Err(io_error("open", &path, error)),
        }
    }

    /// A command that executes this copy by its descriptor, under `name`.
    pub fn command(&self, name: &str) -> Command {
        let mut command = Command::new(format!("/proc/self/fd/{}", self.file.as_raw_fd()));
        command.arg0(name).stdin(Stdio::null());
        command
    }

    /// Asks for the manifest.
    pub fn manifest(&self, name: &str) -> Result<Manifest, BinaryError> {
        let (code, out, err) = self.ask(name, &["--manifest"])?;
        let refuse = |how: String| BinaryError::NoManifest {
            name: name.to_owned(),
            how,
        };
        if code != Some(0) {
            return Err(refuse(
                format!("{} {}", ended(code), last_line(&err))
                    .trim_end()
                    .to_owned(),
            ));
        }
        let manifest: Manifest = serde_json::from_str(&out)
            .map_err(|error| refuse(format!("printed no manifest: {error}")))?;
        let wanted = baton_schema::wire::VERSION;
        if manifest.wire != wanted {
            return Err(BinaryError::Wire {
                name: name.to_owned(),
                found: manifest.wire,
                wanted,
            });
        }
        Ok(manifest)
    }

    /// Lets the binary's own parser read the config.
    pub fn check_config(&self, name: &str, config: &Path) -> Result<(), BinaryError> {
        let config = config.to_string_lossy();
        let (code, _, err) = self.ask(name, &["--check-config", &config])?;
        if code == Some(0) {
            return Ok(());
        }
        let said = err.trim_end();
        let message = if said.is_empty() {
            format!("{name} --check-config {config} {}", ended(code))
        } else {
            said.to_owned()
        };
        let unfit = code == Some(i32::from(Exit::Unfit.code()));
        Err(BinaryError::Config { message, unfit })
    }

    /// Runs it with `args` and gives back its exit code and what it printed.
    fn ask(&self, name: &str, args: &[&str]) -> Result<(Option<i32>, String, String), BinaryError> {
        let mut command = self.command(name);
        command
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child =
            spawn(&mut command).map_err(|error| io_error("execute", &self.path, error))?;
        let out = reader(child.stdout.take());
        let err = reader(child.stderr.take());
        let deadline = Instant::now() + ANSWER_DEADLINE;
        let code = loop {
            match child
                .try_wait()
                .map_err(|error| io_error("wait for", &self.path, error))?
            {
                Some(status) => break status.code(),
                None if Instant::now() > deadline => {
                    let _ = child.kill();
                    let _ = child.wait();
                    let how = format!("did not end within {} s", ANSWER_DEADLINE.as_secs());
                    return Err(BinaryError::NoManifest {
                        name: name.to_owned(),
                        how,
                    });
                }
                None => std::thread::sleep(Duration::from_millis(2)),
            }
        };
        Ok((
            code,
            out.join().unwrap_or_default(),
            err.join().unwrap_or_default(),
        ))
    }
}

/// Starts a command; a copy that a fork of another thread still holds for writing is tried again.
pub fn spawn(command: &mut Command) -> io::Result<std::process::Child> {
    for _ in 0..BUSY_TRIES {
        match command.spawn() {
            Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy => {
                std::thread::sleep(Duration::from_millis(10));
            }
            other => return other,
        }
    }
    command.spawn()
}

/// Removes kept binaries that are none of `wanted`, which are the newest ones and those that run.
pub fn prune(folder: &Path, wanted: &[String]) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_kept = name.len() == 64 && name.chars().all(|c| c.is_ascii_hexdigit());
        if is_kept && !wanted.contains(&name) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn copy_hashed(source: &mut File, to: &Path) -> io::Result<String> {
    let mut target = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o700)
        .open(to)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = source.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        hash.update(&buffer[..read]);
        target.write_all(&buffer[..read])?;
    }
    target.set_permissions(fs::Permissions::from_mode(0o500))?;
    target.sync_all()?;
    Ok(hex(&hash.finalize()))
}

fn reader(pipe: Option<impl Read + Send + 'static>) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(pipe) = pipe {
            let _ = pipe.take(4 << 20).read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

fn ended(code: Option<i32>) -> String {
    match code {
        Some(code) => format!("ended with {code}"),
        None => "was ended by a signal".to_owned(),
    }
}

fn last_line(text: &str) -> &str {
    text.trim_end().lines().last().unwrap_or_default()
}

fn io_error(op: &'static str, path: &Path, source: io::Error) -> BinaryError {
    BinaryError::Io {
        op,
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keep(folder: &Path, program: &str) -> Binary {
        let mut file = File::open(program).expect("a program of the system");
        Binary::keep(folder, &mut file).expect("copied")
    }

    #[test]
    fn a_copy_stands_under_its_content_and_runs_by_descriptor() {
        let folder = tempfile::tempdir().expect("a folder");
        let binary = keep(folder.path(), "/bin/true");
        assert_eq!(
            binary.sha256,
            hex(&Sha256::digest(fs::read("/bin/true").expect("readable")))
        );
        fs::remove_file(&binary.path).expect("the path is not needed any more");
        let status = spawn(&mut binary.command("true"))
            .and_then(|mut child| child.wait())
            .expect("runs");
        assert!(status.success());
    }

    #[test]
    fn the_same_content_is_kept_once_and_the_unwanted_is_pruned() {
        let folder = tempfile::tempdir().expect("a folder");
        let one = keep(folder.path(), "/bin/true");
        let two = keep(folder.path(), "/bin/true");
        let other = keep(folder.path(), "/bin/false");
        assert_eq!(one.path, two.path);
        prune(folder.path(), std::slice::from_ref(&other.sha256));
        assert!(matches!(
            Binary::open(folder.path(), &one.sha256),
            Err(BinaryError::NotKept { .. })
        ));
        assert!(Binary::open(folder.path(), &other.sha256).is_ok());
    }

    #[test]
    fn a_program_without_a_manifest_is_refused_by_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let silent = keep(folder.path(), "/bin/true")
            .manifest("./true")
            .expect_err("prints nothing")
            .to_string();
        assert!(
            silent.starts_with("./true --manifest printed no manifest"),
            "{silent}"
        );
        let failing = keep(folder.path(), "/bin/false")
            .manifest("./false")
            .expect_err("fails")
            .to_string();
        assert_eq!(
            failing,
            "./false --manifest ended with 1; is it a binary made with baton?"
        );
    }
}
