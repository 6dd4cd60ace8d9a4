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
