"""Django on PostgreSQL and AlloyDB: `"ENGINE": "iamsql.django.postgresql"`."""
