//! The receipts on disk: `history/000001.json` and on, append-only, each with the SHA-256 of the
//! one before it.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::receipt::Receipt;

/// The folder of an instance's receipts.
#[derive(Clone, Debug)]
pub struct History {
    folder: PathBuf,
}

/// The history cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
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
    /// A receipt does not parse.
    #[error("{}: not a receipt: {source}; it was changed by hand, or written by a later version", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where.
        source: serde_json::Error,
    },
    /// There is no such receipt.
    #[error("no receipt #{number}: {}", match newest { 0 => "there is none yet".to_owned(), n => format!("the newest is #{n}") })]
    Missing {
        /// Asked for.
        number: u64,
        /// The newest there is; 0 for none.
        newest: u64,
    },
}

/// One receipt as it was read.
#[derive(Clone, Debug)]
pub struct Entry {
    /// What it says.
    pub receipt: Receipt,
    /// Whether the hash it names is that of the file before it.
    pub chained: bool,
}

impl History {
    /// The history in `folder`.
    pub fn new(folder: PathBuf) -> History {
        History { folder }
    }

    /// The numbers there are, ascending.
    pub fn numbers(&self) -> Vec<u64> {
        let Ok(entries) = fs::read_dir(&self.folder) else {
            return Vec::new();
        };
        let mut numbers: Vec<u64> = entries
            .flatten()
            .filter_map(|entry| {
                entry
                    .file_name()
                    .to_str()?
                    .strip_suffix(".json")?
                    .parse()
                    .ok()
            })
            .collect();
        numbers.sort_unstable();
        numbers
    }

    /// The number the next receipt gets.
    pub fn next_number(&self) -> u64 {
        self.numbers().last().map_or(1, |last| last + 1)
    }

    /// Where receipt `number` stands.
    pub fn path(&self, number: u64) -> PathBuf {
        self.folder.join(format!("{number:06}.json"))
    }

    /// The receipt, and whether the chain holds there.
    pub fn read(&self, number: u64) -> Result<Entry, HistoryError> {
        let numbers = self.numbers();
        if !numbers.contains(&number) {
            return Err(HistoryError::Missing {
                number,
                newest: numbers.last().copied().unwrap_or(0),
            });
        }
        let path = self.path(number);
        let bytes = fs::read(&path).map_err(|source| io_error("read", &path, source))?;
        let receipt: Receipt = serde_json::from_slice(&bytes)
            .map_err(|source| HistoryError::Parse { path, source })?;
        let chained = receipt.previous_receipt_sha256 == self.hash(number.wrapping_sub(1));
        Ok(Entry { receipt, chained })
    }

    /// SHA-256 of the file of receipt `number`, in hex.
    pub fn hash(&self, number: u64) -> Option<String> {
        fs::read(self.path(number))
            .ok()
            .map(|bytes| hex(&Sha256::digest(bytes)))
    }

    /// Writes the receipt under its number with the hash of the one before it; never over another.
    pub fn append(&self, receipt: &mut Receipt) -> Result<PathBuf, HistoryError> {
        fs::create_dir_all(&self.folder)
            .map_err(|source| io_error("create", &self.folder, source))?;
        receipt.previous_receipt_sha256 = self.hash(receipt.number.wrapping_sub(1));
        let path = self.path(receipt.number);
        let text = serde_json::to_string_pretty(receipt).map_err(|source| HistoryError::Parse {
            path: path.clone(),
            source,
        })?;
        let draft = self.folder.join(format!(".{:06}.draft", receipt.number));
        let written = fs::File::create(&draft).and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.write_all(b"\n")?;
            file.sync_all()
        });
        written.map_err(|source| io_error("write", &draft, source))?;
        // A hard link refuses to replace what is there; a rename would not.
        let linked = fs::hard_link(&draft, &path);
        let _ = fs::remove_file(&draft);
        linked.map_err(|source| io_error("create", &path, source))?;
        Ok(path)
    }
}

/// Bytes in lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn io_error(op: &'static str, path: &Path, source: io::Error) -> HistoryError {
    HistoryError::Io {
        op,
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::receipt::{Host, Loss, SCHEMA};
    use crate::state::Verdict;

    pub(crate) fn sample(number: u64) -> Receipt {
        Receipt {
            schema: SCHEMA.into(),
            number,
            prefix: "edge1".into(),
            kind: "upgrade".into(),
            asked_by: None,
            host: Host {
                name: "h".into(),
                boot_id: "b".into(),
                kernel: "6.18".into(),
                supervisor: "0.1.0".into(),
            },
            started: "2026-11-22T12:04:06.102000000Z".into(),
            ended: "2026-11-22T12:04:46.741000000Z".into(),
            from: None,
            to: None,
            phases: vec![],
            zones: vec![],
            shards: vec![],
            device_counters: vec![],
            drops: vec![],
            mbufs: None,
            gate: vec![],
            loss: Loss::default(),
            verdict: Verdict::Committed,
            reason: None,
            exit_code: 0,
            previous_receipt_sha256: None,
        }
    }

    #[test]
    fn receipts_are_numbered_chained_and_never_overwritten() {
        let folder = tempfile::tempdir().expect("a folder");
        let history = History::new(folder.path().join("history"));
        assert_eq!(history.next_number(), 1);
        for number in 1..=3 {
            history.append(&mut sample(number)).expect("a new number");
        }
        assert_eq!(history.numbers(), [1, 2, 3]);
        assert!(history.read(2).expect("there").chained);
        assert!(history.append(&mut sample(2)).is_err(), "append-only");
        assert_eq!(history.next_number(), 4);
    }

    #[test]
    fn a_receipt_changed_by_hand_breaks_the_chain_behind_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let history = History::new(folder.path().to_owned());
        for number in 1..=2 {
            history.append(&mut sample(number)).expect("a new number");
        }
        let path = history.path(1);
        let text = fs::read_to_string(&path)
            .expect("readable")
            .replace("committed", "refused");
        fs::write(&path, text).expect("writable");
        assert!(!history.read(2).expect("parses").chained);
    }

    #[test]
    fn a_missing_receipt_names_the_newest() {
        let folder = tempfile::tempdir().expect("a folder");
        let history = History::new(folder.path().to_owned());
        assert_eq!(
            history.read(7).expect_err("none").to_string(),
            "no receipt #7: there is none yet"
        );
        history.append(&mut sample(1)).expect("a new number");
        assert_eq!(
            history.read(7).expect_err("none").to_string(),
            "no receipt #7: the newest is #1"
        );
    }

    #[test]
    fn unknown_is_null_in_the_file() {
        let text = serde_json::to_value(sample(1)).expect("serializes");
        assert!(text["loss"]["duplicated"].is_null() && text["mbufs"].is_null());
        assert_eq!(text["verdict"], "committed");
    }
}
