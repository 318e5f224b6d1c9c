package nats

// liveSubject is where what is published to a channel is delivered: P.l.SHARD.TOKEN.
func (b *Broker) liveSubject(channel string) string { return "" }

// storedSubject is where what is appended to a channel goes: P.h.PART.SHARD.TOKEN. The stream of the part keeps it and republishes it to the
// liveSubject.
func (b *Broker) storedSubject(channel string) string { return "" }

// channelOf is the channel of a liveSubject or a storedSubject. It fails if it is neither.
func (b *Broker) channelOf(subject string) (channel string, ok bool) { return "", false }

// shardOf and partOf are the shard and the stream of a channel: the same on all nodes for ever.
func (b *Broker) shardOf(channel string) int { return 0 }
func (b *Broker) partOf(channel string) int  { return 0 }
