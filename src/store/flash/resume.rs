//! Keeps the tier across restarts: reads what a memory file says of it, and checks that its files are those that were written
//! to. Runs at the start, before rings run. Only [`Flash::record`] is called later, by the code that changes the number
//! recorded.

use super::counters::get;
use super::place::IsThere;
use super::{Flash, FlashOptions};
use crate::store::memory_file::{Headers, Word};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

impl Flash {
    /// The tier whose values an earlier process has written to these files; `None` if the memory file names no tier.
    ///
    /// # Errors
    /// The memory file names a tier, but these files are not its files. The text says why.
    pub(in crate::store) fn resume(
        options: &FlashOptions,
        headers: &Headers,
        is_there: IsThere<'_>,
    ) -> Result<Option<Self>, String> {
        let mut flash = Self::new(options);
        let (oldest, written) = (headers.get(Word::FlashOldest), headers.get(Word::FlashWritten));
        let files = headers.get(Word::FlashFiles);
        if files == 0 {
            return Ok(None);
        }
        if files != flash.geometry.checksum() {
            return Err(
                "sizes or number of the files, ext_page_size or ext_wbuf_size are not what they were"
                    .to_owned(),
            );
        }
        if !flash.geometry.may_hold(&(oldest..written)) {
            return Err("the memory file is damaged where it tells of them".to_owned());
        }
        for file in 0..options.files.len() {
            if !flash.geometry.holds_newest(file, oldest..written, is_there) {
                return Err(format!("file {} of ext_path is not the one that was written to", file + 1));
            }
        }
        flash.salt = headers.get(Word::FlashSalt) as u32;
        (flash.oldest, flash.written) = (AtomicU64::new(oldest), AtomicU64::new(written));
        Ok(Some(flash))
    }

    /// The numbers of the chunks that are on the device.
    pub(in crate::store) fn chunks(&self) -> Range<u64> {
        get(&self.oldest)..get(&self.written)
    }

    /// Records in the memory file which chunks exist, now and from here on whenever that changes.
    pub(super) fn keep(&mut self, headers: &Arc<Headers>) {
        // The last word makes the others valid: if the process is killed in between, the memory file names no tier.
        headers.set(Word::FlashFiles, 0);
        headers.set(Word::FlashSalt, self.salt.into());
        headers.set(Word::FlashOldest, get(&self.oldest));
        headers.set(Word::FlashWritten, get(&self.written));
        headers.set(Word::FlashFiles, self.geometry.checksum());
        self.headers = Some(Arc::clone(headers));
    }

    /// Writes the number of a chunk into `word` of the memory file, if there is such a file.
    pub(super) fn record(&self, word: Word, chunk: u64) {
        if let Some(headers) = &self.headers {
            headers.set(word, chunk);
        }
    }
}
