"Packaging for setuptools; every value lives in `settings.ini`, where nbdev reads it too."
from configparser import ConfigParser
from pathlib import Path
from setuptools import find_packages, setup

root = Path(__file__).parent
ini = ConfigParser(delimiters=['='], interpolation=None)
ini.read(root/'settings.ini', encoding='utf-8')
s = ini['DEFAULT']
minors = range(int(s['min_python'].split('.')[1]), 14)
readme = root/'README.md'

setup(
    name=s['lib_name'], version=s['version'], description=s['description'], keywords=s['keywords'],
    author=s['author'], author_email=s['author_email'], url=s['git_url'], license='Apache-2.0',
    long_description=readme.read_text(encoding='utf-8') if readme.exists() else s['description'],
    long_description_content_type='text/markdown',
    classifiers=['Development Status :: 3 - Alpha', f"Intended Audience :: {s['audience']}"]
        + [f'Programming Language :: Python :: 3.{o}' for o in minors],
    packages=find_packages(include=[s['lib_path'], s['lib_path']+'.*']), package_data={s['lib_path']: ['presets/*.yaml', 'data/*']},
    zip_safe=False, python_requires=f">={s['min_python']}", install_requires=s['requirements'].split(),
    extras_require={'dev': s['dev_requirements'].split()},
    entry_points={'console_scripts': s['console_scripts'].split(), 'nbdev': [f"{s['lib_path']}={s['lib_path']}._modidx:d"]})
