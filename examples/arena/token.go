package main

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"time"
)

// tokenLife bounds how long a token is good for; each welcome brings a new one.
const tokenLife = 24 * time.Hour

var (
	errForged  = errors.New("not a token of this server")
	errExpired = errors.New("the session is over")
)

// signer makes and checks the tokens by which a player comes back into its own
// cells: whose they are, until when, and a signature that only this process can
// make.
type signer struct{ key [32]byte }

func newSigner() *signer {
	s := &signer{}
	_, _ = rand.Read(s.key[:]) // never fails
	return s
}

func (s *signer) token(player uint32, now time.Time) []byte {
	b := binary.BigEndian.AppendUint32(nil, player)
	b = binary.BigEndian.AppendUint64(b, uint64(now.Add(tokenLife).UnixMilli()))
	return append(b, s.sum(b)...)
}

func (s *signer) sum(b []byte) []byte {
	h := hmac.New(sha256.New, s.key[:])
	h.Write(b)
	return h.Sum(nil)
}

// player is whose token it is.
func (s *signer) player(token []byte, now time.Time) (uint32, error) {
	const said = 4 + 8
	if len(token) != said+sha256.Size || !hmac.Equal(token[said:], s.sum(token[:said])) {
		return 0, errForged
	}
	if uint64(now.UnixMilli()) > binary.BigEndian.Uint64(token[4:]) {
		return 0, errExpired
	}
	return binary.BigEndian.Uint32(token), nil
}
