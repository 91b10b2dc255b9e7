//! The numbers that this process gives out: each once, whatever connection it is for.

/// The numbers that are unique in this process.
#[derive(Clone, Debug, Default)]
pub struct Numbers {
    /// Ids of requests. Ids go on over connections, so that a late reply never fits a new question.
    pub request: u64,
    /// Jobs.
    pub serial: u64,
}

impl Numbers {
    /// The id of the next request.
    pub fn request(&mut self) -> u64 {
        self.request += 1;
        self.request
    }

    /// The number of the next job.
    pub fn serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }
}
