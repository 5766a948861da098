//! A table of contents, as in a directory archive's `toc.dat`; and the text that would be made of it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use snapback::archive::wire::{Input, Toc};
use snapback::archive::{RestoreOptions, list, plain};
use snapback::sql::quote::Quote;

fuzz_target!(|data: &[u8]| {
    let Ok(toc) = Toc::read(&mut Input::new(data, 4)) else { return };
    let options = RestoreOptions {
        clean: true,
        if_exists: true,
        create: true,
        ..RestoreOptions::default()
    };
    let quote = Quote::standard(17);
    let facts = list::Facts {
        minor: toc.head.minor,
        format: "DIRECTORY",
        compression: "none",
        int_size: 4,
        offset_size: 8,
    };
    let _ = list::render(&toc.head.header, &facts, &toc.entries, &options);
    let mut writer = plain::Writer::new(toc.entries.into(), options, quote);
    writer.begin(&toc.head.header);
    for id in writer.data().to_vec() {
        if writer.begin_data(id).is_err() || writer.end_data().is_err() {
            return;
        }
    }
    let _ = writer.finish(toc.head.header.created);
});
