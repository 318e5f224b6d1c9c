package nats

import (
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// note is what nodes say to each other.
//
// In bytes it is a byte with the version of the format, and then fields as Protocol Buffers have them, by rising numbers; a field that is
// zero is left out.
type note struct {
	kind     noteKind
	node     string // who says it
	instance string // which process of that name; a name of its own at each start
	others   []string
	id       uint64        // of the question
	timeout  time.Duration // how long the answer is waited for
	subject  string        // of a question; with noteBeat and noteHere the settings of the node
	part     uint64        // of the answer, from 0
	size     uint64        // with part 0 of several: of all together
	last     bool          // there is no further part
	late     bool          // something is missing in the answer
	data     []byte
}

type noteKind uint8

const (
	noteBeat    noteKind = 1 + iota // to all: I live
	noteHello                       // to all or to one: who is there?
	noteHere                        // to one, who has said hello: I am, and these others are known to me
	noteBye                         // to all: I end
	noteAsk                         // to all: see broker.Nodes
	notePresent                     // to all: who is in the channel subject?
	noteCount                       // to all: how many are there? data is the key of the hashes
	noteAnswer                      // to the one who has asked
	noteMore                        // to the one who has answered: the next part, please
)

const noteVersion = 1

// The fields of a note.
const (
	noteKindField protowire.Number = 1 + iota
	noteNode
	noteInstance
	noteOthers
	noteID
	noteTimeout
	noteSubject
	notePart
	noteSize
	noteLast
	noteLate
	noteData

	noteVarints  = 1<<noteKindField | 1<<noteID | 1<<noteTimeout | 1<<notePart | 1<<noteSize | 1<<noteLast | 1<<noteLate
	noteRepeated = 1 << noteOthers
)

const noteOthersMax = peersMax

// encode appends a note to buf.
func (m *note) encode(buf []byte) []byte {
	buf = append(buf, noteVersion)
	buf = appendVarint(buf, noteKindField, uint64(m.kind))
	buf = appendBytes(buf, noteNode, m.node)
	buf = appendBytes(buf, noteInstance, m.instance)
	for _, other := range m.others {
		buf = appendBytes(buf, noteOthers, other)
	}
	buf = appendVarint(buf, noteID, m.id)
	buf = appendVarint(buf, noteTimeout, uint64(m.timeout))
	buf = appendBytes(buf, noteSubject, m.subject)
	buf = appendVarint(buf, notePart, m.part)
	buf = appendVarint(buf, noteSize, m.size)
	buf = appendVarint(buf, noteLast, protowire.EncodeBool(m.last))
	buf = appendVarint(buf, noteLate, protowire.EncodeBool(m.late))
	return appendBytes(buf, noteData, m.data)
}

// decode reads a note, whose data points into data. It fails with errForeign.
func (m *note) decode(data []byte) error {
	*m = note{}
	if len(data) == 0 || data[0] != noteVersion {
		return errForeign
	}
	if !fields(data[1:], noteVarints, noteRepeated, m.field) || !m.valid() {
		return errForeign
	}
	return nil
}

func (m *note) field(n protowire.Number, v uint64, bytes []byte) bool {
	switch n {
	case noteKindField:
		m.kind = noteKind(min(v, 255))
	case noteNode:
		m.node = string(bytes)
	case noteInstance:
		m.instance = string(bytes)
	case noteOthers:
		m.others = append(m.others, string(bytes))
		return len(m.others) <= noteOthersMax
	case noteID:
		m.id = v
	case noteTimeout:
		m.timeout = time.Duration(v)
	case noteSubject:
		m.subject = string(bytes)
	case notePart:
		m.part = v
	case noteSize:
		m.size = v
	case noteLast:
		m.last = v == 1
	case noteLate:
		m.late = v == 1
	default:
		m.data = bytes
		return n == noteData
	}
	return true
}

func (m *note) valid() bool {
	for _, other := range m.others {
		if node, instance, ok := strings.Cut(other, "."); !ok || checkName("", node, 64) != nil || checkName("", instance, 64) != nil {
			return false
		}
	}
	return m.kind >= noteBeat && m.kind <= noteMore && checkName("", m.node, 64) == nil && checkName("", m.instance, 64) == nil &&
		m.timeout >= 0 && m.timeout <= time.Minute && m.size <= answerBytesMax
}
