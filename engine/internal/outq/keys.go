package outq

import "maps"

// keyBytes is what a key in a map costs beside its own bytes: a map of Go has at
// most 16 places for 7 keys, of 25 bytes each.
const keyBytes = 58

// keysKeepMax is the number of keys from which on a map that has become too
// large is replaced: maps of Go do not shrink.
const keysKeepMax = 64

// keys finds the waiting message of a key.
type keys struct {
	m    map[string]*chunk
	most int // keys that m has had: it has room for them
}

// set notes a chunk under its key. It returns by how much the memory grew.
func (k *keys) set(c *chunk) (held int) {
	if k.m == nil {
		k.m = make(map[string]*chunk)
	}
	k.m[c.key] = c
	held = len(c.key)
	if len(k.m) > k.most {
		k.most++
		held += keyBytes
	}
	return held
}

// remove forgets a chunk that is noted. It returns by how much the memory grew,
// and how many keys were moved to a smaller map: fewer than were removed since
// the last time.
func (k *keys) remove(c *chunk) (held, moved int) {
	delete(k.m, c.key)
	held = -len(c.key)
	if k.most > keysKeepMax && 4*len(k.m) < k.most {
		smaller := make(map[string]*chunk, len(k.m))
		maps.Copy(smaller, k.m)
		moved = len(k.m)
		held -= (k.most - moved) * keyBytes
		k.m, k.most = smaller, moved
	}
	return held, moved
}

// clear makes keys that are empty ready for another queue.
func (k *keys) clear() {
	if k.most > keysKeepMax {
		*k = keys{}
	}
}
