//! The structures and the operations on them: one file for each structure, here what they share.

mod acl;
mod directory;
mod hot;
mod ids;
mod ledger;
mod mbufs;
mod meters;
mod pool;
mod rcu;
mod rings;
mod routes;
mod routes6;
mod rows;
mod words;

use baton_shared_state::Region;

use crate::Case;

/// Every case there is.
pub(crate) fn all() -> Vec<Case> {
    let files = [
        rings::all(),
        pool::all(),
        mbufs::all(),
        rows::all(),
        ids::all(),
        hot::all(),
        words::all(),
        routes::all(),
        routes6::all(),
        acl::all(),
        rcu::all(),
        meters::all(),
        directory::all(),
        ledger::all(),
    ];
    files.into_iter().flatten().collect()
}

fn nothing(_: Region) {}

fn expect(holds: bool, why: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(why()) }
}
