package broker

// Publication is what is published to a channel.
type Publication struct {
	Position        // zero if it was not appended to a History
	Prev     uint64 // the offset of the publication before it; see Follows

	Kind   uint8             // what it is, for hubs: it is carried as it is
	Data   []byte            // may be empty
	Info   *Info             // of the connection that published; nil: unknown
	Tags   map[string]string // of the program; may be nil
	Except []string          // connections, by Info.Client, that do not get it; may be nil. It is carried as it is
}

// Position is a place in the stream of a channel: behind the publication that has
// it, or before the first one.
type Position struct {
	Offset uint64
	Epoch  string
}

// Follows reports whether p is the first publication behind a position: the epoch is the same
// and p.Prev is its offset. A History that does not know which publication was before p gives it
// Prev = Offset; such a publication, and one without a position, follows
// nothing, and Read has to tell what lies between.
func (p Publication) Follows(at Position) bool {
	return p.Epoch == at.Epoch && p.Prev == at.Offset && p.Prev < p.Offset
}

// Info says who a connection is.
type Info struct {
	Client  string // the connection; unique on all nodes
	User    string // whose it is; empty: unknown
	Conn    []byte // what the program says of the connection
	Channel []byte // what it says of the connection in this channel
}
