//! Who ended a connection, and what that makes of a request without an answer.

use crate::config::Config;
use crate::outcome::{CLIENT_CANCELLED, CONNECT_FAILED, RESET, TIMEOUT};
use crate::Host;

/// How a connection came to its end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ending {
    /// Also for a connection that Envoy itself ended, as it does while it drains: the vendor is
    /// not to blame.
    CrawlerLeft,
    VendorLeft,
    /// The vendor refused the connection, or could not be reached.
    ConnectFailed,
    ConnectTimedOut,
}

/// The first end that was seen. Of two FINs the first tells who left.
#[derive(Default)]
pub struct Ends {
    first: Option<(Ending, u64)>,
    is_connected: bool,
}

impl Ends {
    pub fn note(&mut self, ending: Ending, host: &mut dyn Host) {
        let is_about_connect = matches!(ending, Ending::ConnectFailed | Ending::ConnectTimedOut);
        // A crawler that half-closed behind its request still waits for the connection.
        if self.first.is_none() || is_about_connect {
            self.first = Some((ending, host.now_ms()));
        }
    }

    pub fn crawler_was_first(&self) -> bool {
        matches!(self.first, Some((Ending::CrawlerLeft, _)))
    }

    pub fn connect(&mut self) {
        self.is_connected = true;
    }

    /// Whether the vendor has sent a byte, or `has_connected` was true.
    pub fn is_connected(&self) -> bool {
        self.is_connected
    }

    pub fn are_known(&self) -> bool {
        self.is_connected && self.first.is_some()
    }

    /// Whether there ever was a connection to the vendor; asks the host only if no byte told.
    pub fn has_connected(&mut self, host: &mut dyn Host) -> bool {
        if !self.is_connected {
            self.is_connected = host.is_connected();
        }
        self.is_connected
    }

    /// Returns the outcome of a request that will have no answer.
    pub fn outcome_without_answer(&self, start_ms: u64, config: &Config) -> u8 {
        match self.first {
            Some((Ending::ConnectFailed, _)) => CONNECT_FAILED,
            Some((Ending::ConnectTimedOut, _)) => TIMEOUT,
            Some((Ending::CrawlerLeft, at_ms)) => {
                let waited = at_ms.saturating_sub(start_ms) >= config.timeout_after_ms;
                if waited {
                    TIMEOUT
                } else {
                    CLIENT_CANCELLED
                }
            }
            Some((Ending::VendorLeft, _)) | None => RESET,
        }
    }
}
