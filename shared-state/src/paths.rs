//! Where an instance keeps its files: the run directory (gone after a boot) and the state
//! directory (survives it).

use std::path::{Path, PathBuf};

/// The files of one instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    /// The file-prefix that names the instance.
    pub prefix: String,
    /// `/run/baton/<prefix>`.
    pub run: PathBuf,
    /// `/var/lib/baton/<prefix>`.
    pub state: PathBuf,
}

impl Paths {
    /// The files of `prefix`, by the environment of this process.
    pub fn of(prefix: &str) -> Paths {
        Paths {
            prefix: prefix.to_owned(),
            run: run_root().join(prefix),
            state: state_root().join(prefix),
        }
    }

    /// The control socket.
    pub fn socket(&self) -> PathBuf {
        self.run.join("control.sock")
    }

    /// The file whose lock says that a supervisor runs; it holds that supervisor's pid.
    pub fn lock(&self) -> PathBuf {
        self.run.join("lock")
    }

    /// Who the tenants are, for `baton stop` of a headless instance.
    pub fn tenants(&self) -> PathBuf {
        self.run.join("tenants.json")
    }

    /// The receipts.
    pub fn history(&self) -> PathBuf {
        self.state.join("history")
    }

    /// The binaries kept by content.
    pub fn binaries(&self) -> PathBuf {
        self.state.join("binaries")
    }
}

/// `$BATON_RUN_DIR`, or `/run/baton`, or for an ordinary user `$XDG_RUNTIME_DIR/baton`.
pub fn run_root() -> PathBuf {
    root("BATON_RUN_DIR", "/run/baton", || {
        std::env::var_os("XDG_RUNTIME_DIR").map(|d| PathBuf::from(d).join("baton"))
    })
}

/// `$BATON_STATE_DIR`, or `/var/lib/baton`, or for an ordinary user `~/.local/state/baton`.
pub fn state_root() -> PathBuf {
    root("BATON_STATE_DIR", "/var/lib/baton", || {
        std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/state/baton"))
    })
}

/// The config file of `prefix` when none is named.
pub fn default_config(prefix: &str) -> PathBuf {
    Path::new("/etc/baton").join(format!("{prefix}.toml"))
}

/// The instances that have a run directory with a control socket or tenants, sorted.
pub fn instances() -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(run_root()) else {
        return Vec::new();
    };
    let mut found: Vec<String> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| {
            let paths = Paths::of(name);
            paths.socket().exists() || paths.tenants().exists()
        })
        .collect();
    found.sort();
    found
}

fn root(variable: &str, system: &str, user: impl Fn() -> Option<PathBuf>) -> PathBuf {
    if let Some(named) = std::env::var_os(variable).filter(|value| !value.is_empty()) {
        return PathBuf::from(named);
    }
    if nix::unistd::geteuid().is_root() {
        return PathBuf::from(system);
    }
    user().unwrap_or_else(|| PathBuf::from(system))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_stand_where_the_manual_says() {
        let paths = Paths {
            prefix: "edge1".into(),
            run: "/run/baton/edge1".into(),
            state: "/var/lib/baton/edge1".into(),
        };
        assert_eq!(paths.socket(), Path::new("/run/baton/edge1/control.sock"));
        assert_eq!(paths.lock(), Path::new("/run/baton/edge1/lock"));
        assert_eq!(paths.history(), Path::new("/var/lib/baton/edge1/history"));
        assert_eq!(paths.binaries(), Path::new("/var/lib/baton/edge1/binaries"));
        assert_eq!(default_config("edge1"), Path::new("/etc/baton/edge1.toml"));
    }
}
