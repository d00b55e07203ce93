//! The memcrsd binary: parses the command line, sets the process up, runs the server, returns an exit status. All of it runs
//! on the main thread, which owns the settings and waits for signals while the server runs.

use memcrsd::config::{self, Config, EX_BAD_VALUE, Environment, StartupError};
use memcrsd::logging;
use memcrsd::process::{self, BoundPort, Transport};
use memcrsd::server::{self, Ports, Request, StartError, Storage};
use memcrsd::top;
use std::io::{self, Write as _};
use std::mem;
use std::process::ExitCode;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(refusal) => {
            refusal.lines.iter().for_each(|line| process::complain(line));
            ExitCode::from(refusal.status)
        }
    }
}

/// Does what the command line asks for: runs the server, checks a server's health, watches a server, or prints a text.
fn run() -> Result<(), StartupError> {
    let (program, words) = config::words(std::env::args_os())?;
    match config::parse(&words, &Environment::probe(program))? {
        config::Request::Run(config) => serve(&config),
        config::Request::Probe(probe) => {
            let line = server::health(&probe).map_err(|line| StartupError::new(EX_BAD_VALUE, line))?;
            let _ = writeln!(io::stdout(), "{line}");
            Ok(())
        }
        config::Request::Top(target) => {
            top::top(&target).map_err(|line| StartupError::new(EX_BAD_VALUE, line))
        }
        config::Request::Print(text) => {
            // Standard output may be closed by its reader.
            let _ = io::stdout().write_all(text.as_bytes());
            Ok(())
        }
    }
}

/// Sets up the process, starts the server, and handles signals until a signal or a client asks the server to stop. The header of
/// [`process`] explains the order of the steps.
fn serve(config: &Config) -> Result<(), StartupError> {
    let denied = |error: StartError| StartupError::denied(error.to_string());
    let mut prepared = process::prepare(config)?;
    let memory_file = prepared.memory_file.take().map(|file| server::inspect(file, config));
    let memory_file = memory_file.transpose().map_err(denied)?;
    let flash_files = server::open_flash(config)?;
    prepared.detach(config)?;
    logging::start(config.verbosity);
    let storage = Storage::open(config, memory_file, flash_files).map_err(denied)?;
    let ports = Ports::bind(config).map_err(denied)?;
    prepared.after_bind(config)?;
    let tcp = |&address| BoundPort { transport: Transport::Tcp, address };
    let udp = |&address| BoundPort { transport: Transport::Udp, address };
    let metrics = |address| BoundPort { transport: Transport::Metrics, address };
    let mut bound: Vec<BoundPort> =
        ports.addresses().iter().map(tcp).chain(ports.udp_addresses().iter().map(udp)).collect();
    bound.extend(ports.metrics_address().map(metrics));
    let users = mem::take(&mut prepared.users);
    let certificates = prepared.certificates.clone();
    let server = ports.start(storage, prepared.connections_max, users, certificates).map_err(denied)?;
    prepared.after_start(config, &bound).inspect_err(|_| prepared.end(config))?;
    loop {
        match server.next_request() {
            Request::Reload => {
                if let Some(users) = prepared.reload() {
                    server.shared().set_users(users);
                }
            }
            Request::StopGracefully => break process::complain("Gracefully stopping"),
            Request::Stop => break tracing::info!("Exiting normally"),
        }
    }
    server.stop();
    prepared.end(config);
    Ok(())
}
