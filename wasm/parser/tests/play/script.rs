//! What happens on a connection.

use passive_parser::Ending;

/// What happens on a connection, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// The crawler sends.
    C(Vec<u8>),
    /// The vendor sends.
    V(Vec<u8>),
    CrawlerFin,
    VendorFin,
    WaitMs(u64),
}

#[derive(Clone, Debug)]
pub struct Script {
    pub vendor: &'static str,
    pub steps: Vec<Step>,
    pub ending: Ending,
}
