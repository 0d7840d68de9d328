//! Generated connections, cut at random places, against what must be counted; then damaged ones.
//!
//!     fuzz EXCHANGES [SEED]
//!
//! A connection as it was made must be counted as its maker says, wherever it is cut. A damaged one
//! may be counted as anything, but must not panic, must be counted alike for two ways of cutting,
//! must put each byte into one counter, and must look at no byte twice. hostile.rs bounds memory.

#[path = "play/generate.rs"]
mod generate;
mod play;

use generate::{connection, Chance, CONFIG};
use passive_parser::{Config, Ending};
use play::{play, Counts, Script, Step};

fn main() {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<u64>().expect("a number"));
    let wanted = arguments.next().expect("fuzz EXCHANGES [SEED]");
    let first_seed = arguments.next().unwrap_or(1);
    let config = Config::from_text(CONFIG).expect("the configuration can be read");
    let (mut exchanges, mut connections, mut seed) = (0u64, 0u64, first_seed);
    while exchanges < wanted {
        exchanges += check(seed, &config);
        connections += 1;
        seed += 1;
    }
    println!("{} exchanges on {} connections, and {} damaged", exchanges, connections, connections);
}

/// Checks one generated connection and one damaged; returns the count of exchanges.
fn check(seed: u64, config: &Config) -> u64 {
    let mut chance = Chance::new(seed);
    let expected = connection(&mut chance);
    let counts = at_random_places(&expected.script, config, &mut chance);
    let got: Vec<&str> = counts.exchanges.iter().map(|line| without_setup(line)).collect();
    assert_eq!(got, expected.exchanges, "seed {}: {:?}", seed, expected.script);
    assert_eq!(counts.opaque, usize::from(expected.is_opaque), "seed {}", seed);
    check_bytes(&expected.script, &counts, seed);

    let damaged = damage(&expected.script, &mut chance);
    let counts = at_random_places(&damaged, config, &mut chance);
    let again = at_random_places(&damaged, config, &mut chance);
    assert_eq!(counts, again, "seed {}: depends on the cuts: {:?}", seed, damaged);
    check_bytes(&damaged, &counts, seed);
    expected.exchanges.len() as u64 + u64::from(expected.is_opaque)
}

fn without_setup(line: &str) -> &str {
    line.split(" setup=").next().unwrap_or(line)
}

fn at_random_places(script: &Script, config: &Config, chance: &mut Chance) -> Counts {
    let most = *chance.pick(&[&1usize, &3, &30, &1000, &100_000]);
    play(script, config, &mut |_| 1 + chance.below(most))
}

fn check_bytes(script: &Script, counts: &Counts, seed: u64) {
    let (mut by_crawler, mut by_vendor) = (0, 0);
    for step in &script.steps {
        match step {
            Step::C(bytes) => by_crawler += bytes.len() as u64,
            Step::V(bytes) => by_vendor += bytes.len() as u64,
            _ => {}
        }
    }
    if matches!(script.ending, Ending::ConnectFailed | Ending::ConnectTimedOut) && by_vendor == 0 {
        by_crawler = 0; // nothing was sent on
    }
    assert_eq!((counts.by_crawler, counts.by_vendor), (by_crawler, by_vendor), "seed {}", seed);
}

/// Changes, drops, doubles or swaps parts of a script.
fn damage(script: &Script, chance: &mut Chance) -> Script {
    let mut steps = script.steps.clone();
    for _ in 0..1 + chance.below(4) {
        if steps.is_empty() {
            break;
        }
        let at = chance.below(steps.len());
        match chance.below(8) {
            0 => {
                steps.remove(at);
            }
            1 => {
                let doubled = steps[at].clone();
                steps.insert(at, doubled);
            }
            2 => {
                let other = chance.below(steps.len());
                steps.swap(at, other);
            }
            _ => damage_bytes(&mut steps[at], chance),
        }
    }
    let ending = match chance.below(8) {
        0 => Ending::ConnectFailed,
        1 => Ending::ConnectTimedOut,
        2 => Ending::VendorLeft,
        3 => Ending::CrawlerLeft,
        _ => script.ending,
    };
    Script { steps, ending, ..script.clone() }
}

fn damage_bytes(step: &mut Step, chance: &mut Chance) {
    let bytes = match step {
        Step::C(bytes) | Step::V(bytes) if !bytes.is_empty() => bytes,
        _ => return,
    };
    let at = chance.below(bytes.len());
    match chance.below(4) {
        0 => bytes[at] = chance.next() as u8,
        1 => bytes[at] = *chance.pick(&[&b'\n', &b'\r', &b' ', &b':', &b';', &b'0', &b'f', &5]),
        2 => bytes.truncate(at),
        _ => {
            let to = at + chance.below(bytes.len() - at);
            let piece = bytes[at..to].to_vec();
            let into = chance.below(bytes.len());
            bytes.splice(into..into, piece);
        }
    }
}
