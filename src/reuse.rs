//! Lists of what is borrowed for a moment only, again and again: one of them is enough for all rows of a table.

/// The same list without what is in it: its memory, for what is borrowed from somewhere else.
#[must_use]
pub fn emptied<T, U>(mut list: Vec<T>) -> Vec<U> {
    list.clear();
    // The standard library collects into the memory of what it reads from.
    list.into_iter().filter_map(|_| None).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_stays() {
        let mut list: Vec<&[u8]> = Vec::with_capacity(100);
        let at = {
            let text = b"text".to_vec();
            let mut short: Vec<&[u8]> = emptied(list);
            short.push(&text);
            let at = short.as_ptr().addr();
            list = emptied(short);
            at
        };
        assert!(list.is_empty());
        assert_eq!((list.capacity(), list.as_ptr().addr()), (100, at));
    }
}
