package session

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
)

// A token is the base64 (RFC 4648 §5, no padding) of what it says, and of the
// HMAC-SHA256 of sealLabel and that:
//
//	8 bytes   the registry that made it
//	16 bytes  the session, unguessable
//	8 bytes   the millisecond since 1970 when it expires, big endian
const (
	sealLabel    = "sockmill session token 1\n" // no other use of the key makes a token
	keyBytesMin  = 16
	tokenPayload = 8 + 16 + 8
	tokenBytes   = tokenPayload + sha256.Size
)

// sessionID is 128 bits of chance.
type sessionID [16]byte

func newSessionID() (id sessionID) {
	_, _ = rand.Read(id[:]) // never fails
	return id
}

// seal makes tokens and tells them from others.
type seal struct {
	key      []byte
	registry [8]byte // tells ours from those of other processes with the same key
}

func (s *seal) init(key []byte) error {
	if key != nil && len(key) < keyBytesMin {
		return fmt.Errorf("session: Config.Key has %d bytes: it must have at least %d, or be nil for a random one", len(key), keyBytesMin)
	}
	_, _ = rand.Read(s.registry[:])
	if s.key = bytes.Clone(key); key == nil {
		s.key = make([]byte, sha256.Size)
		_, _ = rand.Read(s.key)
	}
	return nil
}

var tokenEncoding = base64.RawURLEncoding.Strict() // one spelling for each token

// token signs that the bearer may resume the session id until the time expires,
// in milliseconds since 1970.
func (s *seal) token(id sessionID, expires int64) string {
	b := make([]byte, 0, tokenBytes)
	b = append(b, s.registry[:]...)
	b = append(b, id[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(expires))
	return tokenEncoding.EncodeToString(append(b, s.mac(b)...))
}

// open returns the session that a token names.
func (s *seal) open(token string, now int64) (id sessionID, err error) {
	if len(token) != tokenEncoding.EncodedLen(tokenBytes) { // before any work
		return id, ErrForged
	}
	b, err := tokenEncoding.DecodeString(token)
	if err != nil || len(b) != tokenBytes || !hmac.Equal(s.mac(b[:tokenPayload]), b[tokenPayload:]) {
		return id, ErrForged
	}
	copy(id[:], b[8:])
	switch {
	case int64(binary.BigEndian.Uint64(b[24:])) <= now:
		return id, ErrExpired
	case !bytes.Equal(b[:8], s.registry[:]):
		return id, ErrUnknown
	}
	return id, nil
}

func (s *seal) mac(payload []byte) []byte {
	h := hmac.New(sha256.New, s.key)
	_, _ = h.Write([]byte(sealLabel))
	_, _ = h.Write(payload)
	return h.Sum(nil)
}
