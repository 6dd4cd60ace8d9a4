//! Golden layout files: a released version's layout, frozen.
//!
//! Each crate calls [`assert_golden`] from a test for each of its released records. A record without a file
//! fails the test, too; with `BATON_BLESS=1` the missing file is written. A file that exists is never
//! overwritten.

use std::path::Path;

use crate::schema::Schema;

/// Panics with a sentence unless the file at `path` holds exactly this layout. `path` is relative to the
/// package of the running test (`cargo test` starts there).
pub fn assert_golden(schema: &Schema, path: impl AsRef<Path>) {
    if let Err(why) = compare(
        schema,
        path.as_ref(),
        std::env::var_os("BATON_BLESS").is_some(),
    ) {
        panic!("{why}");
    }
}

/// Why a layout is not the released one.
#[derive(Debug, thiserror::Error)]
enum GoldenError {
    #[error(
        "record \"{name}\" v{version} has no golden file {path}.\nNot released yet? Keep it so. Released with this commit? Run the test once with BATON_BLESS=1 and commit the file."
    )]
    Missing {
        name: String,
        version: u32,
        path: String,
    },
    #[error(
        "the layout of record \"{name}\" v{version} is released and has changed: other binaries read these bytes.\nTake the change back, or add version {next} that follows v{version}, with a migration (schema/LAYOUT.md, Version changes).\n--- {path}\n{expected}\n--- now\n{found}"
    )]
    Changed {
        name: String,
        version: u32,
        next: u32,
        path: String,
        expected: String,
        found: String,
    },
    #[error("golden file {path}: {source}")]
    Io {
        path: String,
        source: std::io::Error,
    },
}

fn compare(schema: &Schema, path: &Path, bless: bool) -> Result<(), GoldenError> {
    let (name, version, shown) = (
        schema.name.clone(),
        schema.version,
        path.display().to_string(),
    );
    let found = schema.text();
    let io = |source| GoldenError::Io {
        path: path.display().to_string(),
        source,
    };
    match std::fs::read_to_string(path) {
        Ok(expected) if expected == found => Ok(()),
        Ok(expected) => Err(GoldenError::Changed {
            name,
            version,
            next: version + 1,
            path: shown,
            expected,
            found,
        }),
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(io(error)),
        Err(_) if bless => {
            if let Some(folder) = path.parent() {
                std::fs::create_dir_all(folder).map_err(io)?;
            }
            std::fs::write(path, found).map_err(io)
        }
        Err(_) => Err(GoldenError::Missing {
            name,
            version,
            path: shown,
        }),
    }
}

#[cfg(test)]
mod tests {
    use zerocopy::{FromBytes, Immutable, IntoBytes};

    use super::*;
    use crate::Record;

    /// Released once, for this test: `layouts/example.flow-v1.txt`.
    #[derive(Record, FromBytes, IntoBytes, Immutable, Clone, Copy)]
    #[record(name = "example.flow", version = 1)]
    #[repr(C)]
    struct Flow {
        #[field(kind = "ipv4")]
        server: [u8; 4],
        #[field(names("new", "established"))]
        state: u8,
        _pad: [u8; 3],
    }

    #[test]
    fn the_released_example_has_not_changed() {
        assert_golden(&Flow::schema(), "layouts/example.flow-v1.txt");
    }

    #[test]
    fn a_changed_released_layout_fails_with_the_way_out() {
        let mut schema = Flow::schema();
        schema.fields[0].name = "target".to_owned();
        let error = compare(&schema, Path::new("layouts/example.flow-v1.txt"), false)
            .unwrap_err()
            .to_string();
        assert!(error.contains("is released and has changed"), "{error}");
        assert!(error.contains("add version 2 that follows v1"), "{error}");
        assert!(
            error.contains("server") && error.contains("target"),
            "{error}"
        );
    }

    #[test]
    fn a_missing_file_is_named_with_the_way_to_make_it() {
        let error = compare(&Flow::schema(), Path::new("layouts/none.txt"), false)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("layouts/none.txt") && error.contains("BATON_BLESS=1"),
            "{error}"
        );
    }
}
