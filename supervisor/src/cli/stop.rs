//! `baton stop`: ends forwarding, also of a headless instance.

use std::time::Duration;

use baton_shared_state::channel::Channel;
use baton_shared_state::paths::Paths;
use clap::Args;

use super::client::{ask, unexpected};
use super::failure::Failure;
use super::{Global, instance};
use crate::driver::tenants;
use crate::exit::Exit;
use crate::request::{Answer, Verb};

/// How long the tenants have to end.
const USUAL: Duration = Duration::from_secs(15);

/// Arguments of `stop`.
#[derive(Debug, Args)]
pub(super) struct Stop {
    /// The instance's file-prefix.
    prefix: Option<String>,
}

pub(super) fn run(global: &Global, args: &Stop) -> Result<Exit, Failure> {
    let paths = instance(args.prefix.as_deref())?;
    let patience = global.patience(USUAL);
    if Channel::connect(&paths.socket()).is_err() && !tenants::alive(&paths.tenants()).is_empty() {
        return headless(global, &paths, patience);
    }
    let ended = ask(&paths, &Verb::Stop, None, patience, |_| {})?;
    let Answer::Said { text, .. } = &ended.answer else {
        return Err(unexpected(ended));
    };
    if ended.exit != Exit::Done {
        return Err(unexpected(ended));
    }
    told(global, &paths.prefix, text);
    Ok(Exit::Done)
}

/// No supervisor: each tenant is ended through a descriptor of exactly that process.
fn headless(global: &Global, paths: &Paths, patience: Duration) -> Result<Exit, Failure> {
    let all = tenants::alive(&paths.tenants());
    let ended = tenants::end(&all, patience);
    if let Err(error) = ended {
        return Err(
            Failure::new(Exit::Failed, error).way_out(format!("baton stop {} again", paths.prefix))
        );
    }
    let _ = std::fs::remove_file(paths.tenants());
    let _ = std::fs::remove_file(paths.socket());
    let pids: Vec<String> = all.iter().map(|tenant| tenant.pid.to_string()).collect();
    told(
        global,
        &paths.prefix,
        &format!(
            "{} does not forward any more (it was headless; ended pid {})",
            paths.prefix,
            pids.join(", ")
        ),
    );
    Ok(Exit::Done)
}

fn told(global: &Global, prefix: &str, text: &str) {
    let value = serde_json::json!({ "schema": "baton.stop/1", "prefix": prefix, "text": text });
    global.show(&value, || text.to_owned());
    global.advise(&format!("next: baton run {prefix}"));
}
