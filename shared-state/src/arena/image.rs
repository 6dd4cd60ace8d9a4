//! An arena on disk: one file for each segment, byte for byte, zeros left out.
//!
//! An image is for reading: its words are those of the moment, lifelines and request words mean
//! nothing any more.

use std::fs::{DirBuilder, File, OpenOptions};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use super::{Access, Arena, ArenaError, Memory, backing, layout};

/// End of the names of image files.
const SUFFIX: &str = ".segment";

impl Arena {
    /// Writes an image of all segments into `dir`, which is made if need be.
    pub fn save(&self, dir: &Path) -> Result<(), ArenaError> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
        made.map_err(ArenaError::file("creating", dir))?;
        for segment in self.segments().iter() {
            let path = dir.join(format!("{}{SUFFIX}", segment.name));
            let file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&path)
                .map_err(ArenaError::file("creating", &path))?;
            let source = segment.fd.as_ref().map(|fd| fd.as_fd());
            backing::write_from(&file, &segment.region, source)
                .map_err(ArenaError::file("writing", &path))?;
        }
        Ok(())
    }

    /// Reads an image into private memory; its lengths are checked as those of live segments are.
    pub fn load_image(dir: &Path) -> Result<Arena, ArenaError> {
        let arena = Arena::reserve("", Memory::Memfd, Access::ReadOnly)?;
        let entries = std::fs::read_dir(dir).map_err(ArenaError::file("listing", dir))?;
        for entry in entries {
            let path = entry.map_err(ArenaError::file("listing", dir))?.path();
            let name = path
                .file_name()
                .map(|name| name.to_string_lossy().into_owned());
            if let Some(segment) = name.as_deref().and_then(|name| name.strip_suffix(SUFFIX)) {
                arena.load_segment(segment, &path)?;
            }
        }
        for name in [layout::LEDGER, layout::TABLES] {
            arena.require(name)?;
        }
        Ok(arena)
    }

    fn load_segment(&self, segment: &str, path: &Path) -> Result<(), ArenaError> {
        let file = File::open(path).map_err(ArenaError::file("opening", path))?;
        let found = backing::inspect(segment, file.into())?;
        let place = layout::place_of(segment).expect("inspect knows the segment");
        let region = self
            .inner
            .range
            .map_private(place.offset as usize, found.len as usize);
        let region = region.map_err(ArenaError::segment(segment, "mmap"))?;
        let file = File::from(found.fd);
        backing::read_into(&file, &region).map_err(ArenaError::file("reading", path))?;
        self.insert(segment, region, None, false);
        Ok(())
    }
}
