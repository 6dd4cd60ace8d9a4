//! The vault: descriptors that must not close while the instance lives, each under a key.
//!
//! The supervisor (standalone: the primary) holds one. Keys read like paths: `segment/tables`,
//! `port/wan/0/xsk`. Handing it on goes in batches, each acknowledged before the next is sent, so
//! that never more descriptors are in flight than the sender may have open.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::channel::MAX_FDS;

/// Descriptors by key, in the order of their keys.
#[derive(Debug, Default)]
pub struct Vault {
    fds: BTreeMap<String, OwnedFd>,
}

/// One message's worth of descriptors.
#[derive(Debug)]
pub struct Batch<'a> {
    /// Keys, in the order of `fds`.
    pub keys: Vec<String>,
    /// The descriptors.
    pub fds: Vec<BorrowedFd<'a>>,
    /// Whether none follows.
    pub last: bool,
}

impl Vault {
    /// An empty vault.
    pub fn new() -> Vault {
        Vault::default()
    }

    /// Keeps a descriptor; one that had the key is closed.
    pub fn put(&mut self, key: impl Into<String>, fd: OwnedFd) {
        self.fds.insert(key.into(), fd);
    }

    /// Keeps what arrived with a message. False (and nothing kept) unless there is one key for
    /// each descriptor.
    pub fn put_all(&mut self, keys: Vec<String>, fds: Vec<OwnedFd>) -> bool {
        let match_up = keys.len() == fds.len();
        if match_up {
            self.fds.extend(keys.into_iter().zip(fds));
        }
        match_up
    }

    /// The descriptor under a key.
    pub fn get(&self, key: &str) -> Option<BorrowedFd<'_>> {
        self.fds.get(key).map(AsFd::as_fd)
    }

    /// A second descriptor of what is under a key.
    pub fn duplicate(&self, key: &str) -> Option<OwnedFd> {
        self.get(key)?.try_clone_to_owned().ok()
    }

    /// Takes a descriptor out; dropping it closes it.
    pub fn remove(&mut self, key: &str) -> Option<OwnedFd> {
        self.fds.remove(key)
    }

    /// All keys, sorted.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.fds.keys().map(String::as_str)
    }

    /// How many descriptors it holds.
    pub fn len(&self) -> usize {
        self.fds.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.fds.is_empty()
    }

    /// Everything whose key begins with `prefix`, in batches of at most [`MAX_FDS`]; at least one
    /// batch, so that the other side always learns which is the last.
    pub fn batches(&self, prefix: &str) -> Vec<Batch<'_>> {
        let mut matching = self.fds.iter().filter(|(key, _)| key.starts_with(prefix));
        let mut batches = Vec::new();
        loop {
            let (keys, fds): (Vec<String>, Vec<BorrowedFd<'_>>) = matching
                .by_ref()
                .take(MAX_FDS)
                .map(|(key, fd)| (key.clone(), fd.as_fd()))
                .unzip();
            let exhausted = keys.is_empty();
            if !exhausted || batches.is_empty() {
                let last = false;
                batches.push(Batch { keys, fds, last });
            }
            if exhausted {
                break;
            }
        }
        batches.last_mut().expect("not empty").last = true;
        batches
    }

    /// Hands on everything whose key begins with `prefix`: `exchange` sends one batch and waits
    /// until the other side has acknowledged it.
    pub fn send_all<E>(
        &self,
        prefix: &str,
        mut exchange: impl FnMut(&Batch<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.batches(prefix).iter().try_for_each(&mut exchange)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::Channel;
    use std::time::{Duration, Instant};

    fn fd() -> OwnedFd {
        tempfile::tempfile().unwrap().into()
    }

    #[test]
    fn what_is_put_is_found_until_it_is_removed() {
        let mut vault = Vault::new();
        vault.put("port/wan/0/xsk", fd());
        vault.put("port/wan/0/xsk", fd());
        assert_eq!((vault.len(), vault.is_empty()), (1, false));
        assert!(vault.get("port/wan/0/xsk").is_some() && vault.get("port").is_none());
        assert!(vault.duplicate("port/wan/0/xsk").is_some());
        assert!(vault.remove("port/wan/0/xsk").is_some());
        assert_eq!(vault.keys().count(), 0);
    }

    #[test]
    fn keys_without_descriptors_are_not_believed() {
        let mut vault = Vault::new();
        assert!(!vault.put_all(vec!["a".to_owned(), "b".to_owned()], vec![fd()]));
        assert!(vault.is_empty());
        assert!(vault.put_all(vec!["a".to_owned()], vec![fd()]));
    }

    #[test]
    fn an_empty_vault_still_says_that_nothing_follows() {
        let vault = Vault::new();
        let batches = vault.batches("");
        assert!(batches.len() == 1 && batches[0].last && batches[0].keys.is_empty());
    }

    #[test]
    fn everything_arrives_in_acknowledged_batches() {
        let mut vault = Vault::new();
        for i in 0..150 {
            vault.put(format!("segment/{i:03}"), fd());
        }
        vault.put("port/x", fd());
        let (here, there) = Channel::pair().unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        let receiver = std::thread::spawn(move || {
            let mut got = Vault::new();
            loop {
                let message = there
                    .recv::<(Vec<String>, bool)>(deadline)
                    .unwrap()
                    .unwrap();
                let ((keys, last), fds) = message;
                assert!(got.put_all(keys, fds));
                there.send(&true, &[]).unwrap();
                if last {
                    return got;
                }
            }
        });
        let mut sizes = Vec::new();
        let sent: Result<(), crate::channel::ChannelError> = vault.send_all("segment/", |batch| {
            sizes.push(batch.fds.len());
            here.send(&(&batch.keys, batch.last), &batch.fds)?;
            here.recv::<bool>(deadline).map(|_| ())
        });
        sent.unwrap();
        assert_eq!(sizes, [64, 64, 22]);
        assert_eq!(receiver.join().unwrap().len(), 150);
    }
}
