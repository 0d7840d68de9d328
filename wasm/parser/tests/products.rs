//! Prints the products that the parser finds, for tests/wasm/test_products.py to compare.
//!
//!     products CONFIG
//!
//! Standard input has a value of Proxy-Authorization a line, in hexadecimal; vendor `v` has them.

use std::io::BufRead;

use passive_parser::Config;

fn main() {
    let text = std::env::args().nth(1).expect("products CONFIG");
    let config = Config::from_text(text.as_bytes()).expect("the configuration can be read");
    let products = config.products_of(config.vendor(b"v")).expect("products of v");
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("text");
        let digits = |at: usize| u8::from_str_radix(&line[at..at + 2], 16).expect("hexadecimal");
        let value: Vec<u8> = (0..line.len() / 2).map(|at| digits(at * 2)).collect();
        let pool = products.of_authorization(&value);
        println!("{}", String::from_utf8_lossy(config.pools.get(pool.into())));
    }
}
