//! The command line of `baton-dump`.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Parser, Subcommand};

use crate::error::DumpError;
use crate::instance::Instance;
use crate::listing::{Color, Format, Listing};
use crate::show::{Wanted, show, stdout};
use crate::source::Source;
use crate::{check, diff, list, save};

/// Shows what is in the memory of an instance: running, dead, or saved. Never changes anything.
#[derive(Parser, Clone, Debug)]
#[command(name = "baton-dump", version, arg_required_else_help = true)]
pub struct Arguments {
    /// The instance's file-prefix.
    pub prefix: String,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
    /// How data is written to stdout.
    #[arg(long, global = true, value_enum, default_value_t)]
    pub format: Format,
    /// Whether tables have colors (NO_COLOR is honored).
    #[arg(long, global = true, value_enum, default_value_t)]
    pub color: Color,
    /// Read an image that `save` wrote, instead of a running instance.
    #[arg(long, global = true, value_name = "DIR", conflicts_with = "hugetlbfs")]
    pub image: Option<PathBuf>,
    /// Read the files of an instance with memory = "hugetlbfs"; no process need be alive.
    #[arg(long, global = true, value_name = "DIR")]
    pub hugetlbfs: Option<PathBuf>,
    /// As root: become this user before anything is mapped (also: the variable BATON_DUMP_UID).
    #[arg(long, global = true)]
    pub uid: Option<u32>,
}

/// What to do.
#[derive(Subcommand, Clone, Debug)]
pub enum Verb {
    /// All zones: schema, version, generation, state, policy, records, bytes.
    List,
    /// The rows of a zone; a table's keys, records and counters are joined.
    Show {
        /// For example nat.session.
        zone: String,
        /// Only rows for which this holds: 'remote_port==443 && idle<10s'.
        #[arg(long = "where", value_name = "EXPR")]
        filter: Option<String>,
        /// At most so many rows.
        #[arg(long, value_name = "N")]
        limit: Option<u64>,
        /// As this generation sees it, instead of the one in use.
        #[arg(long, value_name = "N")]
        generation: Option<u16>,
    },
    /// Whether everything fits together; exit code 8 if not.
    Check,
    /// What changed between two images; `live` is the running instance.
    Diff {
        /// A folder that `save` wrote, or `live`.
        a: PathBuf,
        /// A folder that `save` wrote, or `live`.
        b: PathBuf,
        /// Only this zone.
        #[arg(long)]
        zone: Option<String>,
        /// List at most so many differences; all are counted.
        #[arg(long, value_name = "N", default_value_t = 1000)]
        limit: u64,
    },
    /// Write an image, one file a segment, into a new folder.
    Save {
        /// The folder.
        dir: PathBuf,
    },
}

/// The verbs, to tell one from a prefix that was left out.
const VERBS: [&str; 5] = ["list", "show", "check", "diff", "save"];

impl Arguments {
    /// Reads a command line. The prefix may be left out if it goes without saying: one instance runs, or an image
    /// is read.
    pub fn read(words: Vec<OsString>, running: &[String]) -> Result<Arguments, clap::Error> {
        let error = match Arguments::try_parse_from(&words) {
            Ok(arguments) => return Ok(arguments),
            Err(error) => error,
        };
        let verb = words
            .iter()
            .skip(1)
            .position(|word| VERBS.iter().any(|verb| word == verb));
        let image = words
            .iter()
            .any(|word| word.to_string_lossy().starts_with("--image"));
        let prefix = match running {
            [only] => only.as_str(),
            _ if image => "image",
            _ => return Err(error),
        };
        let Some(verb) = verb else { return Err(error) };
        let mut words = words;
        words.insert(verb + 1, prefix.into());
        Arguments::try_parse_from(words).map_err(|_| error)
    }

    /// Does what was asked; gives the sentence for stderr.
    pub fn run(&self, out: &mut dyn Write) -> Result<String, DumpError> {
        if let Verb::Diff { a, b, zone, limit } = &self.verb {
            let (a, b) = (self.side(a)?, self.side(b)?);
            let (listing, note) = diff::diff(&a, &b, zone.as_deref(), *limit)?;
            return self.write(out, &listing, note);
        }
        let (instance, from) = self.open(&self.source())?;
        self.tell(&instance, out).map(|note| from + &note)
    }

    fn tell(&self, instance: &Instance, out: &mut dyn Write) -> Result<String, DumpError> {
        match &self.verb {
            Verb::List => {
                let (listing, note) = list::list(instance);
                self.write(out, &listing, note.clone())?;
                match instance.directory.check().into_iter().next() {
                    None => Ok(note),
                    Some(damage) => Err(damage.into()),
                }
            }
            Verb::Show {
                zone,
                filter,
                limit,
                generation,
            } => {
                let (zone, filter) = (zone.clone(), filter.clone());
                let wanted = Wanted {
                    zone,
                    filter,
                    limit: *limit,
                    generation: *generation,
                };
                show(instance, &wanted, out, self.format, self.color.enabled())
            }
            Verb::Check => {
                let (listing, failed) = check::check(instance);
                self.write(out, &listing, String::new())?;
                check::verdict(&listing, failed)
            }
            Verb::Save { dir } => save::save(instance, &self.prefix, dir),
            Verb::Diff { .. } => unreachable!("done above"),
        }
    }

    fn uid(&self) -> Result<Option<u32>, DumpError> {
        match std::env::var("BATON_DUMP_UID") {
            Ok(text) if self.uid.is_none() => {
                let uid = text.parse().map_err(|_| {
                    DumpError::Usage("BATON_DUMP_UID is not a number: give the uid, as in 65534")
                })?;
                Ok(Some(uid))
            }
            _ => Ok(self.uid),
        }
    }

    fn source(&self) -> Source {
        let prefix = self.prefix.clone();
        match (&self.image, &self.hugetlbfs) {
            (Some(dir), _) => Source::Image { dir: dir.clone() },
            (None, Some(dir)) => Source::Files {
                prefix,
                dir: dir.clone(),
            },
            (None, None) => Source::Live { prefix },
        }
    }

    fn side(&self, name: &Path) -> Result<Instance, DumpError> {
        let source = match name.as_os_str() == "live" {
            true => self.source(),
            false => Source::Image {
                dir: name.to_path_buf(),
            },
        };
        Ok(self.open(&source)?.0)
    }

    /// Opens the source; if nobody answers, the files that the instance left. Says so then.
    fn open(&self, source: &Source) -> Result<(Instance, String), DumpError> {
        let uid = self.uid()?;
        match (Instance::open(source, uid), source.left_behind()) {
            (Err(DumpError::Headless { .. }), Some(files)) => {
                let note = format!(
                    "no supervisor of {} answers: its files were read\n",
                    self.prefix
                );
                Ok((Instance::open(&files, uid)?, note))
            }
            (opened, _) => Ok((opened?, String::new())),
        }
    }

    fn write(
        &self,
        out: &mut dyn Write,
        listing: &Listing,
        note: String,
    ) -> Result<String, DumpError> {
        listing
            .write(out, self.format, self.color.enabled())
            .map_err(stdout)?;
        Ok(note)
    }
}

/// Whether an error only says that the reader of our output has seen enough.
pub fn is_closed_pipe(error: &DumpError) -> bool {
    matches!(error, DumpError::File { source, .. } if source.kind() == io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str, running: &[&str]) -> Result<Arguments, clap::Error> {
        let words = line.split(' ').map(OsString::from).collect();
        let running: Vec<String> = running.iter().map(|name| (*name).to_owned()).collect();
        Arguments::read(words, &running)
    }

    #[test]
    fn the_prefix_may_be_left_out_when_it_goes_without_saying() {
        assert_eq!(read("baton-dump edge1 list", &[]).unwrap().prefix, "edge1");
        assert_eq!(read("baton-dump list", &["edge1"]).unwrap().prefix, "edge1");
        assert_eq!(
            read("baton-dump --format json show nat.session", &["edge1"])
                .unwrap()
                .prefix,
            "edge1"
        );
        assert_eq!(
            read("baton-dump check --image /tmp/saved", &[])
                .unwrap()
                .prefix,
            "image"
        );
        assert!(read("baton-dump list", &[]).is_err());
        assert!(
            read("baton-dump list", &["edge1", "core1"]).is_err(),
            "which of the two?"
        );
        assert!(read("baton-dump edge1 lst", &["edge1"]).is_err());
    }

    #[test]
    fn live_files_and_images_exclude_one_another() {
        assert!(read("baton-dump edge1 list --image /a --hugetlbfs /b", &[]).is_err());
        let arguments = read("baton-dump edge1 list --hugetlbfs /dev/hugepages", &[]).unwrap();
        let (prefix, dir) = ("edge1".to_owned(), "/dev/hugepages".into());
        assert_eq!(arguments.source(), Source::Files { prefix, dir });
    }
}
