//! Messages as bytes: the only module that knows the encoding.
//!
//! ```text
//!   'B' 'T' 'N' | version (1 byte) | bincode 2, standard configuration, at most MAX_MESSAGE in all
//! ```
//!
//! Any bytes decode to a message or to a [`WireError`], never to a panic and never to an allocation beyond the
//! limit. Bytes after the message are an error: sender and receiver disagree about its type.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Of the encoding and of the messages in [`control`](crate::control) together.
pub const VERSION: u32 = 1;

/// Of one packet on the control socket, prefix included.
pub const MAX_MESSAGE: usize = 128 * 1024;

const MAGIC: [u8; 3] = *b"BTN";
const PREFIX: [u8; 4] = [MAGIC[0], MAGIC[1], MAGIC[2], VERSION as u8];

/// Why bytes are no message, or a message no bytes.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// Too large to send or to accept.
    #[error("message of {found} bytes, {limit} are the limit")]
    TooLarge {
        /// Its size (at least).
        found: usize,
        /// [`MAX_MESSAGE`].
        limit: usize,
    },
    /// Not from a program of ours.
    #[error("not a baton message: it begins with {found:02x?}, expected {expected:02x?}")]
    Foreign {
        /// The first bytes.
        found: Vec<u8>,
        /// Our magic.
        expected: [u8; 3],
    },
    /// From a program of ours that speaks another version.
    #[error("message in wire version {found}, this program speaks {expected}")]
    Version {
        /// As received.
        found: u32,
        /// [`VERSION`].
        expected: u32,
    },
    /// The sender's message is longer than the receiver's type.
    #[error(
        "{found} bytes after the end of the message: sender and receiver disagree about its type"
    )]
    Trailing {
        /// How many.
        found: usize,
    },
    /// The bytes do not make a message of this type.
    #[error("the message does not decode: {source}")]
    Decode {
        /// What bincode says.
        source: bincode::error::DecodeError,
    },
    /// The message cannot be written.
    #[error("the message does not encode: {source}")]
    Encode {
        /// What bincode says.
        source: bincode::error::EncodeError,
    },
}

/// The bytes of `message`.
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, WireError> {
    let body = bincode::serde::encode_to_vec(message, config())
        .map_err(|source| WireError::Encode { source })?;
    let found = PREFIX.len() + body.len();
    if found > MAX_MESSAGE {
        return Err(WireError::TooLarge {
            found,
            limit: MAX_MESSAGE,
        });
    }
    Ok([&PREFIX[..], &body].concat())
}

/// The message in `bytes`.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, WireError> {
    if bytes.len() > MAX_MESSAGE {
        return Err(WireError::TooLarge {
            found: bytes.len(),
            limit: MAX_MESSAGE,
        });
    }
    let Some((prefix, body)) = bytes
        .split_at_checked(PREFIX.len())
        .filter(|(prefix, _)| prefix.starts_with(&MAGIC))
    else {
        return Err(WireError::Foreign {
            found: bytes[..bytes.len().min(MAGIC.len())].to_vec(),
            expected: MAGIC,
        });
    };
    let found = u32::from(prefix[MAGIC.len()]);
    if found != VERSION {
        return Err(WireError::Version {
            found,
            expected: VERSION,
        });
    }
    let (message, used) = bincode::serde::decode_from_slice(body, config())
        .map_err(|source| WireError::Decode { source })?;
    match body.len() - used {
        0 => Ok(message),
        found => Err(WireError::Trailing { found }),
    }
}

fn config() -> impl bincode::config::Config {
    bincode::config::standard().with_limit::<MAX_MESSAGE>()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::control::{FromPrimary, Opening, Phase, ToClient, ToPrimary};
    use crate::manifest::Manifest;

    #[test]
    fn messages_go_there_and_back() {
        let message = ToPrimary::Fds {
            keys: vec!["segment/ledger".to_owned()],
            last: true,
        };
        let bytes = encode(&message).unwrap();
        assert_eq!(bytes[..4], *b"BTN\x01");
        assert_eq!(decode::<ToPrimary>(&bytes).unwrap(), message);
    }

    #[test]
    fn foreign_other_versions_and_trailing_bytes_are_told_apart() {
        let mut bytes = encode(&ToPrimary::Go(Phase::Warm)).unwrap();
        bytes.push(0);
        assert!(matches!(
            decode::<ToPrimary>(&bytes),
            Err(WireError::Trailing { found: 1 })
        ));
        bytes[3] = 9;
        let error = decode::<ToPrimary>(&bytes).unwrap_err();
        assert_eq!(
            error.to_string(),
            "message in wire version 9, this program speaks 1"
        );
        let error = decode::<ToPrimary>(b"GET / HTTP/1.1").unwrap_err();
        assert_eq!(
            error.to_string(),
            "not a baton message: it begins with [47, 45, 54], expected [42, 54, 4e]"
        );
        assert!(matches!(
            decode::<ToPrimary>(b""),
            Err(WireError::Foreign { .. })
        ));
        assert!(matches!(
            decode::<ToPrimary>(b"BTN"),
            Err(WireError::Foreign { .. })
        ));
    }

    #[test]
    fn too_large_is_refused_on_both_sides() {
        let error = encode(&ToPrimary::ZoneRefused {
            why: "x".repeat(MAX_MESSAGE),
        })
        .unwrap_err();
        assert!(
            matches!(
                error,
                WireError::TooLarge {
                    limit: MAX_MESSAGE,
                    ..
                }
            ),
            "{error}"
        );
        assert!(matches!(
            decode::<ToPrimary>(&vec![0; MAX_MESSAGE + 1]),
            Err(WireError::TooLarge { .. })
        ));
    }

    #[test]
    fn a_length_beyond_the_limit_is_not_allocated() {
        // A string that claims 2^60 bytes: bincode's marker for a u64 length, then the length.
        let mut bytes = encode(&ToPrimary::ZoneRefused { why: String::new() }).unwrap();
        bytes.pop();
        bytes.push(253);
        bytes.extend((1u64 << 60).to_le_bytes());
        assert!(matches!(
            decode::<ToPrimary>(&bytes),
            Err(WireError::Decode { .. })
        ));
    }

    #[test]
    fn the_largest_manifest_we_foresee_fits() {
        let fields = (0..40).map(|at| crate::schema::Field {
            name: format!("a_rather_long_field_name_{at}"),
            offset: at * 4,
            size: 4,
            kind: crate::kind::Kind::U32,
            names: Vec::new(),
            doc: "A sentence that says what this field is for.".to_owned(),
        });
        let schema = crate::schema::Schema {
            name: "nat.session".to_owned(),
            version: 1,
            size: 160,
            align: 4,
            fields: fields.collect(),
            doc: String::new(),
        };
        let zone = crate::manifest::ZoneManifest {
            name: "nat.session".to_owned(),
            policy: crate::policy::Policy::Migrate,
            writes: schema.clone(),
            reads: vec![schema; 3],
            losses_back: Vec::new(),
            parameters: None,
        };
        let manifest = Manifest {
            name: "gateway".to_owned(),
            version: String::new(),
            wire: 1,
            zones: vec![zone; 8],
        };
        encode(&FromPrimary::Hello {
            pid: 1,
            manifest,
            resume: None,
        })
        .unwrap();
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_message_or_an_error(mut bytes in prop::collection::vec(any::<u8>(), 0..300), ours in any::<bool>()) {
            if ours && bytes.len() >= 4 {
                bytes[..4].copy_from_slice(&PREFIX);
            }
            let _ = decode::<FromPrimary>(&bytes);
            let _ = decode::<ToPrimary>(&bytes);
            let _ = decode::<ToClient>(&bytes);
            let _ = decode::<Opening>(&bytes);
        }
    }
}
