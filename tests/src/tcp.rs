//! TCP through the lab: connections that must stay alive, and programs nobody here wrote.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::lab::{Lab, LabError};
use crate::machine::find_program;
use crate::netns::Netns;
use crate::program::Program;
use crate::wait::wait_for;

/// A server that returns every byte; its threads end when their connections do.
#[derive(Debug)]
pub struct EchoServer {
    port: u16,
}

/// A connection that says something every 50 ms and hears it back.
#[derive(Debug)]
pub struct EchoClient {
    name: &'static str,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<std::io::Result<()>>>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    answers: AtomicU64,
}

impl EchoServer {
    /// Starts one in the server's namespace.
    pub fn start(lab: &Lab) -> Result<EchoServer, LabError> {
        let listener = lab
            .server
            .inside(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)))?
            .map_err(failed("echo"))?;
        let port = listener.local_addr().map_err(failed("echo"))?.port();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                std::thread::spawn(move || echo(stream));
            }
        });
        Ok(EchoServer { port })
    }

    /// Opens a connection to it from the client's namespace, through the gateway.
    pub fn connect(&self, lab: &Lab, name: &'static str) -> Result<EchoClient, LabError> {
        let to = (Lab::SERVER, self.port).into();
        let stream = lab
            .client
            .inside(|| TcpStream::connect_timeout(&to, PATIENCE))?
            .map_err(failed(name))?;
        stream
            .set_nodelay(true)
            .and_then(|()| stream.set_read_timeout(Some(PATIENCE)))
            .map_err(failed(name))?;
        let shared = Arc::new(Shared::default());
        let thread = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || talk(stream, &shared)
        });
        Ok(EchoClient {
            name,
            shared,
            thread: Some(thread),
        })
    }
}

impl EchoClient {
    /// Waits for one more answer: the connection is alive now.
    pub fn prove_alive(&self) -> Result<(), LabError> {
        let before = self.shared.answers.load(Ordering::Relaxed);
        wait_for(
            format!("an answer on the connection {}", self.name),
            PATIENCE,
            || {
                let answers = self.shared.answers.load(Ordering::Relaxed);
                if answers > before {
                    Ok(())
                } else {
                    Err(format!("{answers} answers"))
                }
            },
        )?;
        Ok(())
    }

    /// Ends the conversation; returns how many answers came.
    pub fn finish(mut self) -> Result<u64, LabError> {
        self.shared.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().expect("it is joined once");
        thread
            .join()
            .expect("the conversation does not panic")
            .map_err(failed(self.name))?;
        Ok(self.shared.answers.load(Ordering::Relaxed))
    }
}

fn echo(mut stream: TcpStream) {
    let mut bytes = [0; 64];
    while let Ok(n @ 1..) = stream.read(&mut bytes) {
        if stream.write_all(&bytes[..n]).is_err() {
            return;
        }
    }
}

fn talk(mut stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    let mut number = 0u64;
    while !shared.stop.load(Ordering::Relaxed) {
        number += 1;
        stream.write_all(&number.to_be_bytes())?;
        let mut answer = [0; 8];
        stream.read_exact(&mut answer)?;
        if answer != number.to_be_bytes() {
            return Err(std::io::Error::other(format!(
                "said {number}, heard {}",
                u64::from_be_bytes(answer)
            )));
        }
        shared.answers.fetch_add(1, Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// `iperf3` paced at 100 Mbit/s from client to server, until it is told to end.
pub struct Iperf {
    server: Program,
    client: Program,
}

impl Iperf {
    /// Starts both ends.
    pub fn start(lab: &Lab) -> Result<Iperf, LabError> {
        let program = need("iperf3")?;
        let mut command = lab.server.command(&program);
        let server = Program::spawn(
            "iperf3-server",
            lab.dir(),
            command.args(["-s", "-1", "--forceflush"]),
        )?;
        wait_for("iperf3 to listen", PATIENCE, || {
            match server.output().contains("listening") {
                true => Ok(()),
                false => Err(server.output()),
            }
        })?;
        let mut command = lab.client.command(&program);
        let to = Lab::SERVER.to_string();
        command.args(["-c", &to, "-b", "100M", "-t", LONGEST_IPERF, "--json"]);
        let client = Program::spawn("iperf3-client", lab.dir(), &mut command)?;
        Ok(Iperf { server, client })
    }

    /// Tells it to end; returns the bits/s it reached. An error if it had ended before, for whatever reason.
    ///
    /// Whichever end closes first does so with data under way, which the other kernel answers by resets: count them
    /// before.
    pub fn finish(mut self, within: Duration) -> Result<f64, LabError> {
        self.client.signal(Signal::SIGINT);
        self.client.wait(within)?;
        let report: serde_json::Value =
            serde_json::from_str(&self.client.output()).unwrap_or_default();
        self.server.stop(Duration::from_secs(2));
        let told = report["error"].as_str() == Some("interrupt - the client has terminated");
        let rate = report["end"]["sum_sent"]["bits_per_second"].as_f64();
        rate.filter(|_| told).ok_or_else(|| LabError::Tcp {
            what: format!(
                "iperf3 did not last until it was told to end: {}",
                self.client.tail()
            ),
        })
    }
}

impl std::fmt::Debug for Iperf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Iperf")
            .field("client", &self.client.pid())
            .finish_non_exhaustive()
    }
}

/// `nginx` in the server's namespace and `curl` again and again in the client's.
#[derive(Debug)]
pub struct Web {
    nginx: Program,
    stop: Arc<AtomicBool>,
    curls: JoinHandle<Result<u64, LabError>>,
}

impl Web {
    /// Starts both; every `curl` fetches [`FILES`] files of [`FILE_BYTES`] over one connection.
    pub fn start(lab: &Lab) -> Result<Web, LabError> {
        let dir = lab.dir().join("nginx");
        for part in ["", "html", "tmp"] {
            std::fs::create_dir_all(dir.join(part)).map_err(file(&dir))?;
        }
        std::fs::write(dir.join("html/file"), vec![b'x'; FILE_BYTES]).map_err(file(&dir))?;
        std::fs::write(dir.join("nginx.conf"), NGINX).map_err(file(&dir))?;
        let mut command = lab.server.command(need("nginx")?);
        command
            .arg("-p")
            .arg(&dir)
            .arg("-c")
            .arg(dir.join("nginx.conf"))
            .args(["-e", "stderr"]);
        let nginx = Program::spawn("nginx", lab.dir(), &mut command)?;
        // A look at the table of sockets: a refused connection would count as a reset.
        wait_for("nginx to listen", PATIENCE, || {
            let sockets = lab.server.proc_net("tcp").map_err(|e| e.to_string())?;
            let listens = sockets.contains(&format!(":{WEB_PORT:04X} 00000000:0000 0A"));
            if listens { Ok(()) } else { Err(nginx.tail()) }
        })?;
        let stop = Arc::new(AtomicBool::new(false));
        let fetch = Fetch {
            enter: lab.client.path(),
            curl: need("curl")?,
        };
        let curls = std::thread::spawn({
            let stop = Arc::clone(&stop);
            move || fetch.until(&stop)
        });
        Ok(Web { nginx, stop, curls })
    }

    /// Ends both; returns how many files were fetched, all of them whole.
    pub fn finish(mut self) -> Result<u64, LabError> {
        self.stop.store(true, Ordering::Relaxed);
        let fetched = self.curls.join().expect("the loop does not panic");
        self.nginx.stop(Duration::from_secs(2));
        fetched
    }
}

struct Fetch {
    enter: std::path::PathBuf,
    curl: std::path::PathBuf,
}

impl Fetch {
    fn until(&self, stop: &AtomicBool) -> Result<u64, LabError> {
        let mut files = 0;
        while !stop.load(Ordering::Relaxed) {
            let mut command = std::process::Command::new("nsenter");
            command
                .arg(format!("--net={}", self.enter.display()))
                .arg("--")
                .arg(&self.curl);
            command.args([
                "-sS",
                "--fail",
                "--max-time",
                "20",
                "--limit-rate",
                "4M",
                "-w",
                "%{size_download}\n",
            ]);
            for _ in 0..FILES {
                command
                    .args(["-o", "/dev/null"])
                    .arg(format!("http://{}:{WEB_PORT}/file", Lab::SERVER));
            }
            let output = command.output().map_err(failed("curl"))?;
            let sizes = String::from_utf8_lossy(&output.stdout);
            let whole = sizes
                .lines()
                .filter(|line| line.parse() == Ok(FILE_BYTES))
                .count();
            if !output.status.success() || whole != FILES {
                let why = String::from_utf8_lossy(&output.stderr).into_owned();
                return Err(LabError::Tcp {
                    what: format!("curl: {whole} of {FILES} files whole; {why}"),
                });
            }
            files += FILES as u64;
            std::thread::sleep(Duration::from_millis(250));
        }
        Ok(files)
    }
}

/// TCP counters of a kernel, or of several.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TcpCounters {
    /// Connections reset while established, and resets sent.
    pub resets: u64,
    /// Segments sent again.
    pub retransmits: u64,
}

impl TcpCounters {
    /// Those of both ends.
    pub fn of(lab: &Lab) -> Result<TcpCounters, LabError> {
        let of = |end: &Netns| Ok::<_, LabError>(tcp_counters(&end.proc_net("snmp")?));
        let (client, server) = (of(&lab.client)?, of(&lab.server)?);
        Ok(TcpCounters {
            resets: client.resets + server.resets,
            retransmits: client.retransmits + server.retransmits,
        })
    }
}

/// Two lines begin with `Tcp:`, first the names, then the numbers.
fn tcp_counters(snmp: &str) -> TcpCounters {
    let mut rows = snmp.lines().filter_map(|line| line.strip_prefix("Tcp:"));
    let (names, numbers) = (rows.next().unwrap_or(""), rows.next().unwrap_or(""));
    let find = |wanted: &str| {
        let mut both = names.split_whitespace().zip(numbers.split_whitespace());
        both.find(|(name, _)| *name == wanted)
            .and_then(|(_, number)| number.parse().ok())
            .unwrap_or(0)
    };
    TcpCounters {
        resets: find("EstabResets") + find("OutRsts"),
        retransmits: find("RetransSegs"),
    }
}

fn need(name: &str) -> Result<std::path::PathBuf, LabError> {
    find_program(name).ok_or_else(|| LabError::Tcp {
        what: format!("{name} is not installed"),
    })
}

fn failed(name: &'static str) -> impl Fn(std::io::Error) -> LabError {
    move |error| LabError::Tcp {
        what: format!("{name}: {error}"),
    }
}

fn file(path: &Path) -> impl Fn(std::io::Error) -> LabError {
    move |source| LabError::File {
        path: path.into(),
        source,
    }
}

/// How long a connection may be silent; a retransmission after a loss comes well within.
const PATIENCE: Duration = Duration::from_secs(10);
/// Seconds; the most that `iperf3` takes.
const LONGEST_IPERF: &str = "86400";
/// Bytes of the file that `curl` fetches.
pub const FILE_BYTES: usize = 100_000;
/// Files one `curl` fetches over one connection.
pub const FILES: usize = 4;
/// Where nginx listens, as its config below says.
const WEB_PORT: u16 = 8_080;

/// One process under one uid (in a user namespace there is no other to change to), all files below its own
/// directory.
const NGINX: &str = "user root;
daemon off;
master_process off;
pid nginx.pid;
events { worker_connections 64; }
http {
    access_log off;
    client_body_temp_path tmp;
    proxy_temp_path tmp;
    fastcgi_temp_path tmp;
    uwsgi_temp_path tmp;
    scgi_temp_path tmp;
    server { listen 8080; root html; }
}
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_found_by_name() {
        let snmp =
            "Ip: A B\nIp: 1 2\nTcp: RtoMin EstabResets OutRsts RetransSegs\nTcp: 200 1 2 7\n";
        assert_eq!(
            tcp_counters(snmp),
            TcpCounters {
                resets: 3,
                retransmits: 7
            }
        );
        assert_eq!(tcp_counters(""), TcpCounters::default());
    }
}
