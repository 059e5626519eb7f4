//! Nested boxes into one buffer: sizes are filled in when a box closes.

/// Grows one buffer box by box.
#[derive(Default)]
pub(super) struct Boxes {
    out: Vec<u8>,
}

impl Boxes {
    pub fn with_capacity(bytes: usize) -> Self {
        Self { out: Vec::with_capacity(bytes) }
    }

    /// A plain box.
    pub fn boxed(&mut self, kind: &[u8; 4], body: impl FnOnce(&mut Self)) {
        let start = self.out.len();
        self.u32(0);
        self.bytes(kind);
        body(self);
        let size = u32::try_from(self.out.len() - start).unwrap_or(u32::MAX);
        self.put_u32(start, size);
    }

    /// A full box: version and flags first.
    pub fn full(&mut self, kind: &[u8; 4], version: u8, flags: u32, body: impl FnOnce(&mut Self)) {
        self.boxed(kind, |b| {
            b.u32(u32::from(version) << 24 | flags & 0x00ff_ffff);
            body(b);
        });
    }

    pub fn u8(&mut self, value: u8) {
        self.out.push(value);
    }
    pub fn u16(&mut self, value: u16) {
        self.bytes(&value.to_be_bytes());
    }
    pub fn u32(&mut self, value: u32) {
        self.bytes(&value.to_be_bytes());
    }
    pub fn i32(&mut self, value: i32) {
        self.bytes(&value.to_be_bytes());
    }
    pub fn u64(&mut self, value: u64) {
        self.bytes(&value.to_be_bytes());
    }
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }
    pub fn zeros(&mut self, count: usize) {
        self.out.resize(self.out.len() + count, 0);
    }

    pub fn len(&self) -> usize {
        self.out.len()
    }

    /// Overwrites four bytes that were written before.
    pub fn put_u32(&mut self, at: usize, value: u32) {
        self.out[at..at + 4].copy_from_slice(&value.to_be_bytes());
    }

    pub fn finish(self) -> Vec<u8> {
        self.out
    }
}
