// Google's Go connector reaches a database through the emulator's data service, and falls back where that does not reach.

package peers

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/cloudsqlconn"
	"github.com/jackc/pgx/v5"
)

const (
	developer  = "your-project-id:us-central1:developer-postgres"
	enterprise = "your-project-id:us-central1:demo-postgres"
	user       = "cloudsql-client@your-project-id.iam"
)

// login asks the database who we are, over a connection that the connector dials.
func login(t *testing.T, dialer *cloudsqlconn.Dialer, instance string, config map[string]string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	parsed, err := pgx.ParseConfig("host=localhost sslmode=disable database=mydb user=" + config["user"])
	if err != nil {
		t.Fatal(err)
	}
	parsed.Password = config["password"]
	parsed.DialFunc = func(ctx context.Context, _, _ string) (net.Conn, error) {
		return dialer.Dial(ctx, instance)
	}
	parsed.LookupFunc = func(context.Context, string) ([]string, error) { return []string{"localhost"}, nil }
	connection, err := pgx.ConnectConfig(ctx, parsed)
	if err != nil {
		return "", err
	}
	defer connection.Close(ctx)
	var name string
	err = connection.QueryRow(ctx, "SELECT current_user").Scan(&name)
	return name, err
}

func dialer(t *testing.T, emulator *emulator) *cloudsqlconn.Dialer {
	t.Helper()
	made, err := cloudsqlconn.NewDialer(
		context.Background(),
		cloudsqlconn.WithAdminAPIEndpoint(emulator.url),
		cloudsqlconn.WithSQLDataEndpoint(emulator.grpc),
		cloudsqlconn.WithIAMAuthN(),
		cloudsqlconn.WithBuiltInMetrics(false),
		cloudsqlconn.WithDefaultDialOptions(cloudsqlconn.WithSQLData()),
	)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = made.Close() })
	return made
}

func TestTheDataServiceLogsIn(t *testing.T) {
	emulator := start(t)
	made := dialer(t, emulator)
	name, err := login(t, made, developer, map[string]string{"user": user})
	if err != nil || name != user {
		t.Fatalf("got %q, %v", name, err)
	}
	last := emulator.lastSession(t, developer)
	if last.Server != emulator.grpc || last.Certificate != nil || last.User != user {
		t.Fatalf("not through the data service: %+v", last)
	}
	name, err = login(t, made, developer, map[string]string{"user": emulator.user, "password": emulator.password})
	if err != nil || name != emulator.user {
		t.Fatalf("got %q, %v", name, err)
	}
	if _, err = login(t, made, developer, map[string]string{"user": "jane@example.com"}); err == nil ||
		!strings.Contains(err.Error(), "IAM user authentication failed") {
		t.Fatalf("got %v", err)
	}
}

func TestAnotherEditionIsReachedDirectly(t *testing.T) {
	emulator := start(t)
	name, err := login(t, dialer(t, emulator), enterprise, map[string]string{"user": user})
	if err != nil || name != user {
		t.Fatalf("got %q, %v", name, err)
	}
	if last := emulator.lastSession(t, enterprise); last.Server == emulator.grpc || last.Certificate == nil {
		t.Fatalf("not by its address: %+v", last)
	}
}
