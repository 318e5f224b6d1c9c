package nats

import (
	"hash/fnv"
	"strconv"
	"strings"
)

// The subjects of a channel. They are the same on all nodes and for all time: what is stored lies under them.
//
//	P.l.SHARD.TOKEN       what is published to the channel, or was stored
//	P.h.PART.SHARD.TOKEN  what is appended to it; the stream of the part keeps it and republishes it under the first one
//
// P is Config.Prefix. TOKEN is the name of the channel, with each byte that a subject cannot have as %XX, two capital hexadecimal
// digits: those up to 0x20 and from 0x7f on, and . * > %. SHARD and PART are from a 64-bit number h: FNV-1a of
// the name, then mixed by the last step of MurmurHash3. SHARD is its lower half modulo Config.Shards, PART its upper half modulo
// Config.Streams.

// tokenBytesMax is the length of the longest token: of 255 bytes that a subject cannot have.
const tokenBytesMax = 3 * 255

const hexDigits = "0123456789ABCDEF"

func hashOf(channel string) uint64 {
	f := fnv.New64a()
	_, _ = f.Write([]byte(channel))
	h := f.Sum64()
	// Names that differ in the last byte only have the same upper bits in FNV-1a.
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	h *= 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}

// shardOf and partOf are the shard and the stream of a channel.
func (b *Broker) shardOf(channel string) int { return shardOf(hashOf(channel), b.cfg.Shards) }
func (b *Broker) partOf(channel string) int  { return partOf(hashOf(channel), b.cfg.Streams) }

func shardOf(hash uint64, shards int) int { return int(uint32(hash) % uint32(shards)) }
func partOf(hash uint64, parts int) int   { return int(uint32(hash>>32) % uint32(parts)) }

// liveSubject is the first of the subjects of a channel.
func (b *Broker) liveSubject(channel string) string {
	var space [1024]byte
	buf := append(space[:0], b.livePrefix...)
	buf = strconv.AppendInt(buf, int64(b.shardOf(channel)), 10)
	buf = append(buf, '.')
	return string(appendToken(buf, channel))
}

// storedSubject is the second of the subjects of a channel.
func (b *Broker) storedSubject(channel string) string {
	var space [1024]byte
	h := hashOf(channel)
	buf := append(space[:0], b.storedPrefix...)
	buf = strconv.AppendInt(buf, int64(partOf(h, b.cfg.Streams)), 10)
	buf = append(buf, '.')
	buf = strconv.AppendInt(buf, int64(shardOf(h, b.cfg.Shards)), 10)
	buf = append(buf, '.')
	return string(appendToken(buf, channel))
}

// shardSubject is that of all channels of a shard.
func (b *Broker) shardSubject(shard int) string { return b.livePrefix + strconv.Itoa(shard) + ".*" }

// channelOf is the channel of a liveSubject or a storedSubject. It fails if it is neither, or if a channel with that name would have
// another one.
func (b *Broker) channelOf(subject string) (channel string, ok bool) {
	token := subject[strings.LastIndexByte(subject, '.')+1:]
	name, ok := appendName(nil, token)
	if !ok {
		return "", false
	}
	channel = string(name)
	return channel, subject == b.liveSubject(channel) || subject == b.storedSubject(channel)
}

// cutLive splits a liveSubject into its shard and its token.
func (b *Broker) cutLive(subject string) (shard int, token string, ok bool) {
	rest, ok := strings.CutPrefix(subject, b.livePrefix)
	if !ok {
		return 0, "", false
	}
	number, token, ok := strings.Cut(rest, ".")
	shard, err := strconv.Atoi(number)
	return shard, token, ok && err == nil && shard >= 0 && shard < b.cfg.Shards
}

// escaped are the bytes that a token cannot have.
var escaped = func() (table [256]bool) {
	for c := range table {
		table[c] = c <= 0x20 || c >= 0x7f || strings.IndexByte(".*>%", byte(c)) >= 0
	}
	return table
}()

// appendToken appends the token of a channel to buf.
func appendToken(buf []byte, channel string) []byte {
	for i := range len(channel) {
		if c := channel[i]; escaped[c] {
			buf = append(buf, '%', hexDigits[c>>4], hexDigits[c&15])
		} else {
			buf = append(buf, c)
		}
	}
	return buf
}

// appendName appends the name of the channel that has this token. It fails if no channel has it.
func appendName(buf []byte, token string) ([]byte, bool) {
	begin := len(buf)
	for i := 0; i < len(token); i++ {
		c := token[i]
		switch {
		case c == '%' && i+2 < len(token):
			high, low := strings.IndexByte(hexDigits, token[i+1]), strings.IndexByte(hexDigits, token[i+2])
			if high < 0 || low < 0 || !escaped[high<<4|low] {
				return buf, false
			}
			buf = append(buf, byte(high<<4|low))
			i += 2
		case escaped[c]:
			return buf, false
		default:
			buf = append(buf, c)
		}
	}
	return buf, len(buf) > begin && len(buf)-begin <= 255
}
