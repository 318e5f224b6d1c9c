module github.com/sockmill/sockmill/e2e/cluster

go 1.26.0

require (
	github.com/nats-io/nats.go v1.55.0
	github.com/sockmill/sockmill v0.0.0
	github.com/sockmill/sockmill/hub v0.0.0
	go.uber.org/zap v1.28.0
	golang.org/x/sys v0.50.0
)

require (
	github.com/centrifugal/protocol v0.23.1 // indirect
	github.com/golang-jwt/jwt/v5 v5.3.1 // indirect
	github.com/klauspost/compress v1.20.3 // indirect
	github.com/nats-io/nkeys v0.4.16 // indirect
	github.com/nats-io/nuid v1.0.1 // indirect
	github.com/panjf2000/gnet/v2 v2.9.8 // indirect
	go.uber.org/multierr v1.11.0 // indirect
	golang.org/x/crypto v0.57.0 // indirect
	google.golang.org/protobuf v1.36.12 // indirect
	gopkg.in/natefinch/lumberjack.v2 v2.2.1 // indirect
)

replace (
	github.com/sockmill/sockmill => ../../
	github.com/sockmill/sockmill/hub => ../../hub
)
