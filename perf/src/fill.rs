//! `perf fill`: how many items fit. Sets distinct items until the server evicts for the first time, continues for half as
//! many again, then reads everything back and counts what is there.

use argh::FromArgs;

use crate::client::{self, Answer, Client};
use crate::load::{self, Mix, Plan, Span};
use crate::process;
use crate::proto::{self, Protocol, Reply};
use crate::record::{self, Machine};
use crate::server::{Recipe, Server, Settings};
use crate::value::{KEY_LEN_MAX, KEY_LEN_MIN, Keys, Pattern};
use crate::zipf::Choice;

/// Set distinct items until the first eviction and print how many are held.
#[derive(FromArgs, Clone, Debug)]
#[argh(subcommand, name = "fill")]
pub(crate) struct Flags {
    /// value sizes, bytes (10,100,1000,10000)
    #[argh(option, default = "String::from(\"10,100,1000,10000\")")]
    value_bytes: String,
    /// key length, bytes (30)
    #[argh(option, default = "30")]
    key_bytes: usize,
    /// a server, NAME=COMMAND with {port}, {threads} and {memory} in it; may be repeated (memcrsd and memcached)
    #[argh(option)]
    server: Vec<Recipe>,
    /// memory of a server, MiB (64)
    #[argh(option, default = "64")]
    memory: usize,
    /// threads of a server (4)
    #[argh(option, default = "4")]
    threads: usize,
}

/// # Errors
/// A message, when a server fails or gives a wrong value.
pub(crate) fn command(flags: &Flags) -> Result<(), String> {
    if !(KEY_LEN_MIN..=KEY_LEN_MAX).contains(&flags.key_bytes) {
        return Err(format!("--key-bytes is {KEY_LEN_MIN} to {KEY_LEN_MAX}"));
    }
    let servers = Recipe::named_or_usual(&flags.server);
    let machine = Machine::here();
    println!("{}  {}, Linux {}", record::now(), machine.cpu, machine.kernel);
    Recipe::introduce(&servers, flags.memory)?;
    println!("-m {}, {} threads, keys of {} bytes\n", flags.memory, flags.threads, flags.key_bytes);
    println!(
        "{:>7} {:12} {:>16} {:>8} {:>8} {:>13} {:>10} {:>8} {:>9}",
        "value",
        "server",
        "1st eviction at",
        "payload",
        "RSS MiB",
        "held after x1.5",
        "curr_items",
        "payload",
        "RSS MiB"
    );
    for size in flags.value_bytes.split(',') {
        let value_len = size.trim().parse().map_err(|e| format!("--value-bytes {size}: {e}"))?;
        for recipe in &servers {
            let filled = fill(recipe, value_len, flags)?;
            let payload = |items: u64| {
                let bytes = items * (flags.key_bytes + value_len) as u64;
                format!("{:.1} %", 100.0 * bytes as f64 / (flags.memory << 20) as f64)
            };
            println!(
                "{value_len:>7} {:12} {:>16} {:>8} {:>8.1} {:>15} {:>10} {:>8} {:>9.1}",
                recipe.name,
                filled.first_eviction,
                payload(filled.first_eviction),
                filled.first_rss_bytes as f64 / 1_048_576.0,
                filled.held,
                filled.claimed,
                payload(filled.held),
                filled.rss_bytes as f64 / 1_048_576.0
            );
        }
    }
    Ok(())
}

#[derive(Debug)]
struct Filled {
    /// `curr_items` at the last check before the first eviction.
    first_eviction: u64,
    first_rss_bytes: u64,
    /// Items that could be read at the end, and `curr_items` then.
    held: u64,
    claimed: u64,
    rss_bytes: u64,
}

/// Items between two checks of the statistics, which bounds the error; at most 64 KiB of values.
const BATCH_MAX: usize = 500;

fn fill(recipe: &Recipe, value_len: usize, flags: &Flags) -> Result<Filled, String> {
    let settings =
        Settings { threads: flags.threads, memory_mib: flags.memory, cores: process::allowed_cores() };
    let server = Server::start(recipe, &settings)?;
    let pattern = Pattern::new();
    let mut filler = Filler::new(&server.address, flags.key_bytes)?;
    let batch = ((64 << 10) / (value_len + 100)).clamp(1, BATCH_MAX) as u64;
    // Twice the memory in values alone: a server that has not evicted by then never does.
    let end = 2 * ((flags.memory as u64) << 20) / value_len.max(1) as u64 + batch;
    let mut first_eviction = 0;
    while client::stat(&server.address, "evictions")? == 0 {
        first_eviction = filler.next;
        if filler.next > end {
            return Err(format!(
                "{} evicts nothing: {} items of {value_len} bytes are in",
                recipe.name, filler.next
            ));
        }
        filler.set(&pattern, batch, value_len)?;
    }
    let first_rss_bytes = process::sample(server.pid())?.rss_bytes;
    filler.set(&pattern, filler.next / 2, value_len)?;
    let claimed = client::stat(&server.address, "curr_items")?;
    let rss_bytes = process::sample(server.pid())?.rss_bytes;
    let read = Plan {
        mix: Mix::Get,
        connections: 4,
        depth: 16,
        keys: filler.next,
        choice: Choice::Sequential,
        key_bytes: flags.key_bytes,
        sizes: value_len.to_string().parse()?,
        span: Span::Requests(filler.next),
        ..Plan::new(&server.address)
    };
    let report = load::run(&read, &pattern)?;
    report.verdict()?;
    Ok(Filled { first_eviction, first_rss_bytes, held: report.hits, claimed, rss_bytes })
}

/// Sets items one after the other and checks the replies.
#[derive(Debug)]
pub(crate) struct Filler {
    client: Client,
    keys: Keys,
    next: u64,
}

impl Filler {
    /// # Errors
    /// A message, when the server at `address` does not accept.
    pub(crate) fn new(address: &str, key_bytes: usize) -> Result<Self, String> {
        Ok(Self { client: Client::connect(address, Protocol::Text)?, keys: Keys::new(key_bytes), next: 0 })
    }

    /// Sets the next `count` items.
    ///
    /// # Errors
    /// A message, when one is not stored.
    pub(crate) fn set(&mut self, pattern: &Pattern, count: u64, value_len: usize) -> Result<(), String> {
        const WINDOW: u64 = 64;
        let end = self.next + count;
        while self.next < end {
            let window = self.next..end.min(self.next + WINDOW);
            for object in window.clone() {
                let key = self.keys.key(object);
                proto::encode_set(Protocol::Text, &mut self.client.out, key, 0, value_len);
                pattern.append(&mut self.client.out, Pattern::start(object, 0), value_len);
                self.client.out.extend_from_slice(Protocol::Text.value_tail());
            }
            for object in window.clone() {
                match self.client.answer()? {
                    Answer::Other(Reply::Done) => {}
                    other => return Err(format!("{other:?} to the set of item {object}")),
                }
            }
            self.next = window.end;
        }
        Ok(())
    }
}
