package outq

import "fmt"

// Audit counts all that waits, and returns an error if the accounts say
// something else. It is for tests: it looks at every chunk.
func (x *Queue) Audit() error {
	l := x.list
	switch {
	case l == nil:
		return nil
	case x.alone != nil || l.first == nil:
		return fmt.Errorf("outq: a list that should have been given back")
	}
	oldest, newest, bytes, messages, removables, keyed := l.oldest, (*chunk)(nil), 0, 0, 0, 0
	for c := l.first; c != nil; c = c.next {
		bytes += len(c.b) - c.done
		messages += int(c.messages)
		if c.next == nil && l.last != c || c.next != nil && c.next.prev != c {
			return fmt.Errorf("outq: the links of a list are broken")
		}
		if c.kind != removableChunk {
			continue
		}
		removables++
		bytes += RemovableBytes
		if c != oldest || c.done != 0 {
			return fmt.Errorf("outq: the removable chunks are in another order than all chunks, or one is partly written")
		}
		oldest, newest = c.newer, c
		if c.key != "" {
			if keyed++; l.keys.m[c.key] != c {
				return fmt.Errorf("outq: the key %q leads to another chunk", c.key)
			}
		}
	}
	if oldest != nil || newest != l.newest || bytes != l.bytes || messages != l.messages || removables != l.removable || keyed != len(l.keys.m) {
		return fmt.Errorf("outq: the queue counts %d bytes, %d messages, %d removable, %d keys; it has %d, %d, %d, %d",
			l.bytes, l.messages, l.removable, len(l.keys.m), bytes, messages, removables, keyed)
	}
	return nil
}
