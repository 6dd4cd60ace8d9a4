//! `save DIR`: an image of the instance, one file a segment, for `--image DIR`.
//!
//! An image of an instance that forwards is not of one moment: each word is whole, rows that changed meanwhile may be
//! half old. `check --image` says what does not fit together. The image holds packet data: it is made with mode 0700.

use std::path::Path;

use baton_shared_state::sys;

use crate::error::DumpError;
use crate::instance::{IMAGE_NOTE, ImageNote, Instance};

/// Writes the image; `prefix` goes into its note. A folder with anything in it is refused.
pub fn save(instance: &Instance, prefix: &str, dir: &Path) -> Result<String, DumpError> {
    let file = |op, path: &Path| {
        let path = path.to_owned();
        move |source| DumpError::File { op, path, source }
    };
    if dir.exists()
        && std::fs::read_dir(dir)
            .map_err(file("listing", dir))?
            .next()
            .is_some()
    {
        return Err(DumpError::Usage(
            "the folder to save into is not empty: name a new one",
        ));
    }
    let boottime_ns = if instance.may_change {
        sys::clock_boottime_ns()
    } else {
        instance.now_ns
    };
    instance.arena.save(dir)?;
    let note = ImageNote {
        schema: "baton.image/1".to_owned(),
        prefix: prefix.to_owned(),
        boottime_ns,
    };
    let text = serde_json::to_string(&note).expect("a note is plain data");
    let path = dir.join(IMAGE_NOTE);
    std::fs::write(&path, text).map_err(file("writing", &path))?;
    let shown = dir.display();
    Ok(format!(
        "saved; next: baton-dump {prefix} --image {shown} check"
    ))
}
