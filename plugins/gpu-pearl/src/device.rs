//! An open device: its buffers, what is submitted to it, and what its driver says out of turn.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use crate::pipelines::Pipelines;

/// What went wrong with a device.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(crate) enum DeviceError {
    /// The driver reset it, or it fell off the bus. Opening it again may help.
    #[error("the device was lost: {0}")]
    Lost(String),
    /// Something that would happen again.
    #[error("{0}")]
    Failed(String),
}

/// What the driver said out of turn.
#[derive(Default)]
struct Trouble {
    lost: AtomicBool,
    message: Mutex<Option<String>>,
}

impl Trouble {
    fn remember(&self, message: String) {
        let mut first = self.message.lock().expect("nobody panics with it");
        // What comes after the first error follows from it.
        first.get_or_insert(message);
    }
}

/// An open device.
pub(crate) struct Device {
    pub device: wgpu::Device,
    pub queue: wgpu::Queue,
    pub pipelines: Pipelines,
    trouble: Arc<Trouble>,
}

/// What a buffer is for.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Use {
    /// Parameters.
    Uniform,
    /// Data of the kernels.
    Storage,
    /// Data on its way back to the processor.
    Readback,
}

impl Device {
    /// A device that was just opened.
    ///
    /// # Errors
    ///
    /// Its driver does not take the kernels of an operand.
    pub(crate) fn new(device: wgpu::Device, queue: wgpu::Queue) -> Result<Self, DeviceError> {
        let trouble = Arc::new(Trouble::default());
        let lost = Arc::clone(&trouble);
        device.set_device_lost_callback(move |_, message| {
            lost.remember(message);
            lost.lost.store(true, Ordering::Release);
        });
        let failed = Arc::clone(&trouble);
        device.on_uncaptured_error(Arc::new(move |err: wgpu::Error| failed.remember(err.to_string())));
        let pipelines = Pipelines::new(&device);
        let device = Self { device, queue, trouble, pipelines };
        device.check()?;
        Ok(device)
    }

    /// Whether it still works.
    ///
    /// # Errors
    ///
    /// [`DeviceError`] with the first thing that went wrong.
    pub(crate) fn check(&self) -> Result<(), DeviceError> {
        let message = self.trouble.message.lock().expect("nobody panics with it").clone();
        match message {
            message if self.trouble.lost.load(Ordering::Acquire) => {
                Err(DeviceError::Lost(message.unwrap_or_default()))
            }
            Some(message) => Err(DeviceError::Failed(message)),
            None => Ok(()),
        }
    }

    /// A buffer of `bytes` bytes, zeros.
    pub(crate) fn buffer(&self, bytes: u64, what: Use) -> wgpu::Buffer {
        let usage = match what {
            Use::Uniform => wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
            Use::Storage => {
                wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::COPY_SRC
            }
            Use::Readback => wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
        };
        self.device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: bytes,
            usage,
            mapped_at_creation: false,
        })
    }

    /// A uniform buffer with these words.
    pub(crate) fn uniform(&self, words: &[u32]) -> wgpu::Buffer {
        let buffer = self.buffer(size_of_val(words) as u64, Use::Uniform);
        self.queue.write_buffer(&buffer, 0, bytemuck::cast_slice(words));
        buffer
    }

    /// Binds `buffers` in order.
    pub(crate) fn group(&self, layout: &wgpu::BindGroupLayout, buffers: &[&wgpu::Buffer]) -> wgpu::BindGroup {
        let entries: Vec<_> = buffers
            .iter()
            .zip(0..)
            .map(|(buffer, binding)| wgpu::BindGroupEntry { binding, resource: buffer.as_entire_binding() })
            .collect();
        self.device.create_bind_group(&wgpu::BindGroupDescriptor { label: None, layout, entries: &entries })
    }

    /// An encoder of commands.
    pub(crate) fn encoder(&self) -> wgpu::CommandEncoder {
        self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default())
    }

    /// Waits until what was submitted up to `submission` is done.
    ///
    /// # Errors
    ///
    /// The device was lost, failed, or did not come to an end in two minutes.
    pub(crate) fn wait(&self, submission: wgpu::SubmissionIndex) -> Result<(), DeviceError> {
        let waited = self.device.poll(wgpu::PollType::Wait {
            submission_index: Some(submission),
            timeout: Some(std::time::Duration::from_secs(120)),
        });
        self.check()?;
        waited.map(|_| ()).map_err(|err| DeviceError::Lost(format!("it does not answer: {err}")))
    }

    /// Copies `bytes` bytes of `buffer`, from byte `from` on, to the processor, and waits for it.
    ///
    /// # Errors
    ///
    /// As [`wait`](Self::wait).
    pub(crate) fn read(&self, buffer: &wgpu::Buffer, from: u64, bytes: u64) -> Result<Vec<u32>, DeviceError> {
        let copy = self.buffer(bytes, Use::Readback);
        let mut encoder = self.encoder();
        encoder.copy_buffer_to_buffer(buffer, from, &copy, 0, bytes);
        let submission = self.queue.submit([encoder.finish()]);
        copy.map_async(wgpu::MapMode::Read, .., |_| ());
        self.wait(submission)?;
        mapped(&copy, bytes)
    }

    /// Makes as if the driver had reset it.
    #[cfg(test)]
    pub(crate) fn lose(&self) {
        self.device.destroy();
    }
}

/// The first `bytes` bytes of a buffer that is mapped.
///
/// # Errors
///
/// It is not, because the device was lost.
pub(crate) fn mapped(buffer: &wgpu::Buffer, bytes: u64) -> Result<Vec<u32>, DeviceError> {
    let view = buffer
        .get_mapped_range(..bytes)
        .map_err(|err| DeviceError::Lost(format!("nothing came back from it: {err}")))?;
    Ok(bytemuck::cast_slice(&view).to_vec())
}
