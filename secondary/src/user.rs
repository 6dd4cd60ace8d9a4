//! Another user for the reading: a tool that was taken over could reopen the segments of its own user for writing
//! through `/proc`, those of another it cannot.

use baton_shared_state::sys;
use nix::unistd::{Gid, Uid, User, geteuid, setgroups, setresgid, setresuid};

use crate::error::DumpError;

/// Becomes `uid` for good (groups too), and undumpable. Root only; a user who is `uid` already stays so.
pub fn become_user(uid: u32) -> Result<(), DumpError> {
    let failed = |op| {
        move |errno: nix::Error| DumpError::User {
            uid,
            op,
            source: errno.into(),
        }
    };
    let target = Uid::from_raw(uid);
    if geteuid() == target {
        return Ok(());
    }
    let gid = match User::from_uid(target) {
        Ok(Some(user)) => user.gid,
        _ => Gid::from_raw(uid),
    };
    setgroups(&[gid]).map_err(failed("setgroups (root only)"))?;
    setresgid(gid, gid, gid).map_err(failed("setresgid"))?;
    setresuid(target, target, target).map_err(failed("setresuid"))?;
    sys::set_dumpable(false).map_err(|source| DumpError::User {
        uid,
        op: "PR_SET_DUMPABLE",
        source,
    })
}
