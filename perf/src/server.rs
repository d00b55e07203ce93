//! Starts and stops the servers that are measured.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::str::FromStr;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::client;
use crate::process;

/// A server: its name and its command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Recipe {
    pub(crate) name: String,
    /// Command line. `{port}`, `{threads}`, `{memory}` (MiB) and `{bytes}` are substituted, and `{config:FILE}` by the path of
    /// a copy of FILE in which they are.
    pub(crate) command: String,
}

/// What the name of a configuration file stands between.
const CONFIG: (&str, &str) = ("{config:", "}");

impl FromStr for Recipe {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((name, command))
                if !name.is_empty() && (command.contains("{port}") || command.contains(CONFIG.0)) =>
            {
                Ok(Self { name: name.into(), command: command.into() })
            }
            _ => Err(format!(
                "a server is NAME=COMMAND with {{port}} or {{config:FILE}} in the command, not {text}"
            )),
        }
    }
}

impl Recipe {
    /// `program` with the flags that memcached and memcrsd share. Root needs -u.
    pub(crate) fn usual(name: &str, program: &str) -> Self {
        let user = if nix::unistd::geteuid().is_root() { " -u root" } else { "" };
        let command =
            format!("{program} -p {{port}} -t {{threads}} -m {{memory}} -c 8192 -U 0 -l 127.0.0.1{user}");
        Self { name: name.into(), command }
    }

    /// memcrsd as built by `cargo build --release`.
    pub(crate) fn memcrsd() -> Self {
        let target = std::env::var("CARGO_TARGET_DIR").unwrap_or_else(|_| "target".into());
        Self::usual("memcrsd", &format!("{target}/release/memcrsd"))
    }

    /// The memcached that `tests/yardstick` has fetched, else the installed one.
    pub(crate) fn memcached() -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/yardstick");
        let said = Command::new(script).arg("path").output();
        let path = said.ok().and_then(|said| String::from_utf8(said.stdout).ok()).unwrap_or_default();
        let path = path.trim_end();
        Self::usual("memcached", if path.is_empty() { "memcached" } else { path })
    }

    /// The servers named; memcrsd and memcached if there are none.
    pub(crate) fn named_or_usual(named: &[Self]) -> Vec<Self> {
        if named.is_empty() { vec![Self::memcrsd(), Self::memcached()] } else { named.to_vec() }
    }

    /// The configuration file that the command names, with its placeholders; `None` if it names none.
    ///
    /// # Errors
    /// A message, when it cannot be read or has no port.
    pub(crate) fn config(&self) -> Result<Option<String>, String> {
        let Some((_, path, _)) = self.config_parts() else { return Ok(None) };
        let text = std::fs::read_to_string(path).map_err(|e| format!("{path}: {e}"))?;
        if !text.contains("{port}") {
            return Err(format!("{path}: it has no {{port}}"));
        }
        Ok(Some(text))
    }

    /// The command before the configuration file, the file, and the command after it.
    fn config_parts(&self) -> Option<(&str, &str, &str)> {
        let (before, rest) = self.command.split_once(CONFIG.0)?;
        let (path, after) = rest.split_once(CONFIG.1)?;
        Some((before, path, after))
    }

    /// The version that the server reports, or "unknown version".
    ///
    /// # Errors
    /// A message, when it cannot be started.
    pub(crate) fn version(&self, memory_mib: usize) -> Result<String, String> {
        let settings = Settings { threads: 1, memory_mib, cores: process::allowed_cores() };
        client::version(&Server::start(self, &settings)?.address)
    }

    /// Prints which servers a table compares.
    ///
    /// # Errors
    /// A message, when one cannot be started.
    pub(crate) fn introduce(servers: &[Self], memory_mib: usize) -> Result<(), String> {
        for recipe in servers {
            println!("{}  {}  {}", recipe.name, recipe.version(memory_mib)?, recipe.command);
        }
        Ok(())
    }
}

/// How a server is started.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) threads: usize,
    pub(crate) memory_mib: usize,
    /// The cores it may run on.
    pub(crate) cores: Vec<usize>,
}

impl Settings {
    fn substitute(&self, text: &str, port: u16) -> String {
        text.replace("{port}", &port.to_string())
            .replace("{threads}", &self.threads.to_string())
            .replace("{memory}", &self.memory_mib.to_string())
            .replace("{bytes}", &(self.memory_mib << 20).to_string())
    }
}

/// A file that is removed when the value is dropped.
#[derive(Debug)]
pub(crate) struct TempFile(pub(crate) PathBuf);

impl Drop for TempFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A running server; killed and reaped when dropped.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    /// It may be read again while the server runs.
    _config: Option<TempFile>,
    /// HOST:PORT
    pub(crate) address: String,
}

const START_SECS_MAX: u64 = 10;

impl Server {
    /// Starts a server on a free port of 127.0.0.1 and waits until it answers.
    ///
    /// # Errors
    /// A message, when it cannot be started, ends, or does not answer within ten seconds.
    pub(crate) fn start(recipe: &Recipe, settings: &Settings) -> Result<Self, String> {
        let failed = |e: &dyn std::fmt::Display| format!("cannot start {}: {e}", recipe.name);
        let listener = TcpListener::bind("127.0.0.1:0").map_err(|e| failed(&e))?;
        let port = listener.local_addr().map_err(|e| failed(&e))?.port();
        drop(listener);
        let mut command = recipe.command.clone();
        let mut config = None;
        if let (Some(text), Some((before, _, after))) =
            (recipe.config().map_err(|e| failed(&e))?, recipe.config_parts())
        {
            let path = std::env::temp_dir().join(format!("perf-{}-{port}.conf", std::process::id()));
            std::fs::write(&path, settings.substitute(&text, port)).map_err(|e| failed(&e))?;
            command = format!("{before}{}{after}", path.display());
            config = Some(TempFile(path));
        }
        let command = settings.substitute(&command, port);
        let mut words = command.split_whitespace();
        let program = words.next().ok_or_else(|| failed(&"the command is empty"))?;
        // A child inherits the cores of the thread that starts it.
        let before = process::allowed_cores();
        process::pin(&settings.cores)?;
        let child = Command::new(program).args(words).stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        process::pin(&before)?;
        let child = child.map_err(|e| failed(&format!("{program}: {e}")))?;
        let mut server = Self { child, _config: config, address: format!("127.0.0.1:{port}") };
        server.wait_until_ready().map_err(|e| failed(&e))?;
        Ok(server)
    }

    fn wait_until_ready(&mut self) -> Result<(), String> {
        let deadline = Instant::now() + Duration::from_secs(START_SECS_MAX);
        loop {
            let Err(refused) = client::version(&self.address) else { return Ok(()) };
            if let Some(status) = self.child.try_wait().map_err(|e| e.to_string())? {
                return Err(format!("it ended: {status}"));
            }
            if Instant::now() > deadline {
                return Err(refused);
            }
            // There is no event for another process's listen(2).
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    pub(crate) fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// Ends it with `signal` and waits until it has ended.
    ///
    /// # Errors
    /// A message, when it is gone already.
    pub(crate) fn end(mut self, signal: Signal) -> Result<(), String> {
        let failed = |e: &dyn std::fmt::Display| format!("cannot end the server: {e}");
        kill(Pid::from_raw(self.pid()), signal).map_err(|e| failed(&e))?;
        self.child.wait().map(drop).map_err(|e| failed(&e))
    }

    /// `None` while the process runs. A crash shows here before it shows as a broken connection.
    pub(crate) fn ended(&mut self) -> Option<String> {
        self.child.try_wait().ok().flatten().map(|status| status.to_string())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself, which is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Cores of the server, cores of the load, and the threads of the load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) server: Vec<usize>,
    pub(crate) load: Vec<usize>,
    pub(crate) load_threads: usize,
}

impl Layout {
    /// The first `threads` of `cores` for the server and the others for the load, when any are left; all for both otherwise.
    pub(crate) fn new(cores: &[usize], threads: usize) -> Self {
        if threads < cores.len() {
            let (server, load) = cores.split_at(threads);
            return Self {
                server: server.into(),
                load: load.into(),
                load_threads: load.len().min(2 * threads),
            };
        }
        Self { server: cores.into(), load: cores.into(), load_threads: threads.min(cores.len()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recipe_has_a_name_and_a_port() {
        let recipe: Recipe = "x=/bin/x -p {port}".parse().unwrap();
        assert_eq!((&recipe.name[..], &recipe.command[..]), ("x", "/bin/x -p {port}"));
        for text in ["x", "=a {port}", "x=/bin/x"] {
            assert!(text.parse::<Recipe>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_configuration_has_a_port() {
        let folder = std::env::temp_dir();
        let path = folder.join(format!("perf-recipe-{}.toml", std::process::id()));
        let recipe: Recipe = format!("x=/bin/x {{config:{}}} -v", path.display()).parse().unwrap();
        assert!(recipe.config().unwrap_err().contains("No such file"));
        std::fs::write(&path, "threads = {threads}").unwrap();
        assert!(recipe.config().unwrap_err().ends_with("it has no {port}"));
        let text = "port = {port}\nthreads = {threads}\nheap = {bytes} # {memory}";
        std::fs::write(&path, text).unwrap();
        assert_eq!(recipe.config().unwrap().as_deref(), Some(text));
        std::fs::remove_file(&path).unwrap();
        let settings = Settings { threads: 3, memory_mib: 64, cores: vec![] };
        assert_eq!(settings.substitute(text, 5), "port = 5\nthreads = 3\nheap = 67108864 # 64");
        let plain: Recipe = "x=/bin/x -p {port}".parse().unwrap();
        assert_eq!(plain.config(), Ok(None));
    }

    #[test]
    fn server_and_load_have_cores_of_their_own_when_there_are_enough() {
        let two = Layout::new(&[0, 1], 1);
        assert_eq!(two, Layout { server: vec![0], load: vec![1], load_threads: 1 });
        let full = Layout::new(&[0, 1], 2);
        assert_eq!(full, Layout { server: vec![0, 1], load: vec![0, 1], load_threads: 2 });
        let wide = Layout::new(&[0, 1, 2, 3, 4, 5, 6, 7], 2);
        assert_eq!(wide, Layout { server: vec![0, 1], load: vec![2, 3, 4, 5, 6, 7], load_threads: 4 });
    }
}
