//! The crawler's direction: requests, a SOCKS5 handshake, or bytes that only pass.

use crate::answering::Answering;
use crate::body::Body;
use crate::connection::{Around, Connection};
use crate::head::{may_be_request, Method, RequestHead, Unreadable};
use crate::line::Piece;
use crate::queue::Pending;
use crate::socks::{Answered, Asked, VERSION};
use crate::target::OTHER;
use crate::{Label, Visibility, HEAD_LIMIT};

/// What the crawler's next bytes are.
pub enum Asking {
    /// A request's head, or blank lines before it.
    Head(Option<RequestHead>),
    Body(Body),
    Socks(Asked),
    /// The content of a tunnel.
    Passing,
    Unread,
}

impl Connection {
    pub(crate) fn pass_request(&mut self, most: usize) -> usize {
        let count = match &mut self.asking {
            Asking::Passing => most as u64,
            Asking::Unread if self.queue.is_empty() => most as u64,
            Asking::Unread => {
                // Once a CONNECT is granted, these are the tunnel's.
                self.up.hold(most as u64);
                return most;
            }
            Asking::Body(body) => {
                let count = body.passing().min(most as u64);
                if count > 0 && body.pass(count) {
                    self.asking = Asking::Head(None);
                }
                count
            }
            Asking::Head(_) | Asking::Socks(_) => 0,
        };
        self.is_body_awaited &= count == 0;
        self.add_sent(count);
        count as usize
    }

    /// Reads bytes; returns how many were used. 0 is for what cannot be read.
    pub(crate) fn read_request(&mut self, bytes: &[u8], around: &mut Around) -> usize {
        match &mut self.asking {
            Asking::Head(_) => match self.request.has_begun {
                true => self.read_request_head(bytes, around),
                false => self.begin_request(bytes, around),
            },
            Asking::Body(body) => {
                let (used, has_ended) = body.feed(bytes);
                if has_ended {
                    self.asking = Asking::Head(None);
                }
                self.is_body_awaited = false;
                self.add_sent(used as u64);
                used
            }
            Asking::Socks(_) => self.read_socks_request(bytes, around),
            Asking::Passing | Asking::Unread => 0,
        }
    }

    /// Passes over blank lines, and looks at the first byte of a head.
    fn begin_request(&mut self, bytes: &[u8], around: &mut Around) -> usize {
        let is_blank = |byte: &u8| matches!(byte, b'\r' | b'\n');
        let blank = bytes.iter().position(|byte| !is_blank(byte)).unwrap_or(bytes.len());
        if blank > 0 {
            self.request.grow(blank);
            if self.request.size > HEAD_LIMIT {
                return 0;
            }
            self.up.hold(blank as u64);
            return blank;
        }
        if matches!(self.answering, Answering::Unread) {
            return 0; // its answer could not be read
        }
        self.request.has_begun = true;
        self.request.start_ms = around.host.now_ms();
        let is_first = !self.has_counted && self.queue.is_empty() && self.request.size == 0;
        if is_first && bytes.first() == Some(&VERSION) {
            self.asking = Asking::Socks(Asked::default());
            self.answering = Answering::Socks(Answered::default());
            return self.read_socks_request(bytes, around);
        }
        self.read_request_head(bytes, around)
    }

    fn read_request_head(&mut self, bytes: &[u8], around: &mut Around) -> usize {
        let head = match &mut self.asking {
            Asking::Head(head) => head,
            _ => return 0,
        };
        let (used, piece) = match self.request.lines.next(bytes) {
            Some(cut) => cut,
            None => return 0,
        };
        let mut ended = None;
        match (piece, head) {
            (Piece::Start(_), Some(_)) => {}
            (Piece::Start(start), None) if may_be_request(start) => {}
            (Piece::Start(_), None) => return 0,
            (Piece::Line(line), first @ None) => {
                *first = RequestHead::from_line(&line, around.config);
                if first.is_none() {
                    return 0;
                }
            }
            (Piece::Line(line), Some(head)) if line.is_empty() => ended = Some(*head),
            (Piece::Line(line), Some(head)) => head.read(&line, around.config, self.vendor),
        }
        self.request.grow(used);
        match ended {
            _ if self.request.size > HEAD_LIMIT => 0,
            None => {
                self.up.hold(used as u64);
                used
            }
            Some(head) => match self.end_request_head(&head, used) {
                Ok(()) => used,
                Err(Unreadable) => 0,
            },
        }
    }

    fn end_request_head(&mut self, head: &RequestHead, last: usize) -> Result<(), Unreadable> {
        let (visibility, body) = match head.method {
            // Its lengths mean nothing: what follows is a tunnel, or the next request.
            Method::Connect => (Visibility::Tunnel, None),
            _ => (Visibility::Http, head.framing.of_request()?),
        };
        let label = Label { group: head.group, product: head.product, ..Label::of(visibility) };
        let pending = Pending {
            is_head: head.method == Method::Head,
            had_credentials: head.has_credentials,
            ..Pending::new(self.request.start_ms, label)
        };
        if !self.queue.push(pending) {
            return Err(Unreadable);
        }
        self.up.hold(last as u64);
        self.add_held();
        self.request.clear();
        self.is_body_awaited = body.is_some();
        self.asking = body.map_or(Asking::Head(None), Asking::Body);
        Ok(())
    }

    fn read_socks_request(&mut self, bytes: &[u8], around: &mut Around) -> usize {
        let asked = match &mut self.asking {
            Asking::Socks(asked) => asked,
            _ => return 0,
        };
        let used = match asked.feed(bytes, around.config, self.vendor) {
            Ok(used) => used,
            Err(Unreadable) => return 0,
        };
        let (has_greeted, product, group) = (asked.has_greeted(), asked.product, asked.group);
        if has_greeted && self.request.has_begun {
            let label = Label::of(Visibility::Socks);
            if !self.queue.push(Pending::new(self.request.start_ms, label)) {
                return 0;
            }
            self.request.clear();
        }
        self.up.hold(used as u64);
        let group_or_other = group.unwrap_or(OTHER);
        let label = Label { group: group_or_other, product, ..Label::of(Visibility::Socks) };
        if let Some(pending) = self.queue.front_mut() {
            pending.label = label;
        }
        if group.is_some() {
            self.add_held();
            self.asking = Asking::Passing;
        }
        used
    }
}
