package nats

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/sockmill/sockmill/hub/broker"
)

// Each node keeps the presence of its own clients in memory, and the nodes are asked for theirs. So a node that
// ends takes its clients with it when it is not known any more, after Config.NodeLifetime, and what a
// node says of its clients is right at once.

// Enter implements broker.Presence. It does not ask NATS. Nor does Leave.
func (b *Broker) Enter(ctx context.Context, channel string, info broker.Info, lifetime time.Duration) error {
	if err := b.check(ctx, channel); err != nil {
		return err
	}
	return b.nodes.local.Enter(ctx, channel, info, lifetime)
}

// Leave implements broker.Presence.
func (b *Broker) Leave(ctx context.Context, channel, client string) error {
	if err := b.check(ctx, channel); err != nil {
		return err
	}
	return b.nodes.local.Leave(ctx, channel, client)
}

// Present implements broker.Presence. It asks all nodes as Ask does.
func (b *Broker) Present(ctx context.Context, channel string) ([]broker.Info, error) {
	if err := b.check(ctx, channel); err != nil {
		return nil, err
	}
	var all []broker.Info
	var failed error
	replies, missing, err := b.gather(ctx, &note{kind: notePresent, subject: channel}, func(ctx context.Context) {
		all, failed = b.nodes.local.Present(context.WithoutCancel(ctx), channel)
	})
	if err == nil {
		err = failed
	}
	if err != nil {
		return nil, err
	}
	for _, r := range replies {
		infos, ok := decodeInfos(all, r.data)
		if !ok {
			missing = append(missing, r.node)
			continue
		}
		all = infos
	}
	return all, missed(missing)
}

// missed is the error of a result in which these nodes are missing.
func missed(nodes []string) error {
	if len(nodes) == 0 {
		return nil
	}
	return &broker.MissingError{Nodes: sorted(nodes)}
}

// ownPresent is the answer to notePresent: the infos, each with its length before it.
func (b *Broker) ownPresent(ctx context.Context, channel string) ([]byte, bool) {
	all, err := b.nodes.local.Present(ctx, channel)
	if err != nil {
		return nil, false
	}
	size := 0
	for i := range all {
		size += protowire.SizeBytes(sizeInfo(&all[i]))
	}
	data := make([]byte, 0, size)
	for i := range all {
		data = appendInfo(protowire.AppendVarint(data, uint64(sizeInfo(&all[i]))), &all[i])
	}
	return data, true
}

func sizeInfo(i *broker.Info) int {
	return sizeBytes(len(i.Client)) + sizeBytes(len(i.User)) + sizeBytes(len(i.Conn)) + sizeBytes(len(i.Channel))
}

func appendInfo(buf []byte, i *broker.Info) []byte {
	buf = appendBytes(buf, infoClient, i.Client)
	buf = appendBytes(buf, infoUser, i.User)
	buf = appendBytes(buf, infoConn, i.Conn)
	return appendBytes(buf, infoChannel, i.Channel)
}

// decodeInfos appends infos, which point into data.
func decodeInfos(all []broker.Info, data []byte) ([]broker.Info, bool) {
	for len(data) > 0 {
		one, size := protowire.ConsumeBytes(data)
		if size < 0 {
			return nil, false
		}
		var r record
		if !r.decodeInfo(one) {
			return nil, false
		}
		all, data = append(all, *r.Info), data[size:]
	}
	return all, true
}

// Count implements broker.Presence. It asks all nodes as Ask does. To count users once, each node that has some sends 8 bytes for each of
// them: a hash with a key that is another one each time. With 100,000 users, one count of 3,000,000,000 would be less by one than it is.
func (b *Broker) Count(ctx context.Context, channel string) (n broker.Counts, err error) {
	if err := b.check(ctx, channel); err != nil {
		return n, err
	}
	var failed error
	key := make([]byte, keyBytes)
	_, _ = rand.Read(key) // it never fails
	replies, missing, err := b.gather(ctx, &note{kind: noteCount, subject: channel, data: key}, func(ctx context.Context) {
		n, failed = b.nodes.local.Count(context.WithoutCancel(ctx), channel)
	})
	if err == nil {
		err = failed
	}
	if err != nil {
		return broker.Counts{}, err
	}
	var hashes []uint64
	clients := 0
	for _, r := range replies {
		has, size := protowire.ConsumeVarint(r.data)
		if size < 0 || has > 1<<40 || (len(r.data)-size)%8 != 0 {
			missing = append(missing, r.node)
			continue
		}
		clients += int(has)
		for rest := r.data[size:]; len(rest) > 0; rest = rest[8:] {
			hashes = append(hashes, binary.LittleEndian.Uint64(rest))
		}
	}
	if hashes != nil {
		own, users, err := b.nodes.local.Users(context.WithoutCancel(ctx), channel)
		if err != nil {
			return broker.Counts{}, err
		}
		n.Clients, hashes = own, append(hashes, hashUsers(users, key)...)
		slices.Sort(hashes)
		n.Users = len(slices.Compact(hashes))
	}
	n.Clients += clients
	return n, missed(missing)
}

// ownCount is the answer to noteCount: the number of clients, and the hashes of the users.
func (b *Broker) ownCount(ctx context.Context, channel string, key []byte) ([]byte, bool) {
	clients, users, err := b.nodes.local.Users(ctx, channel)
	if err != nil || len(key) != keyBytes {
		return nil, false
	}
	data := protowire.AppendVarint(make([]byte, 0, 10+8*len(users)), uint64(clients))
	for _, h := range hashUsers(users, key) {
		data = binary.LittleEndian.AppendUint64(data, h)
	}
	return data, true
}

const keyBytes = 16

func hashUsers(users []string, key []byte) []uint64 {
	all, buf := make([]uint64, 0, len(users)), slices.Clone(key)
	for _, user := range users {
		buf = append(buf[:keyBytes], user...)
		sum := sha256.Sum256(buf)
		all = append(all, binary.LittleEndian.Uint64(sum[:]))
	}
	return all
}
