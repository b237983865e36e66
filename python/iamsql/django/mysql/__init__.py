"""Django on MySQL: `"ENGINE": "iamsql.django.mysql"`."""
